-- When workflows start by themselves. Few: all of them are in memory too.
create table schedules (
  namespace text not null,
  workflow text not null,
  version text not null,
  origin integer not null,
  paused integer not null,
  next_at integer,
  last_session text,
  last_at integer,
  queued text not null,
  missed integer not null,
  primary key (namespace, workflow)
) without rowid;
