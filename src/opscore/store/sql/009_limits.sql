-- Tasks that may be claimed once there is room under their limits; apart from `ready`, so that those
-- who claim do not pass over them again and again. `terms` are their limits, as JSON.
create table gated (
  namespace text not null,
  queue text not null,
  place integer not null,
  task_id text not null,
  session_id text not null,
  expires_at integer,
  terms text not null,
  primary key (namespace, queue, place, task_id)
) without rowid;
create index gated_by_expiry on gated (expires_at) where expires_at is not null;

-- An attempt in flight says itself under which limits it found room: no slot outlives its attempt.
alter table leases add column terms text;
create index leases_with_terms on leases (task_id) where terms is not null;

-- One row for each rate in use: its theoretical arrival time (GCRA), and the bound last seen.
create table rates (
  namespace text not null,
  key text not null,
  tat integer not null,
  starts integer not null,
  per integer not null,
  primary key (namespace, key)
) without rowid;
