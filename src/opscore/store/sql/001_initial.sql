-- The first shape of the store. Times are microseconds since the epoch.

create table meta (key text primary key, value text not null) without rowid;

-- Appended in commit order: `position` is the feed's cursor. Session ids are scattered, so the
-- journal is not clustered by session: every commit would touch one page per session.
create table events (
  position integer primary key,
  session_id text not null,
  seq integer not null,
  at integer not null,
  type text not null,
  version integer not null,
  data blob not null
);
create unique index events_by_session on events (session_id, seq);

create table sessions (
  session_id text primary key,
  namespace text not null,
  workflow text not null,
  version text not null,
  status text not null,
  priority integer not null,
  labels text not null,
  agent_id text,
  trace_id text not null,
  created_at integer not null,
  updated_at integer not null,
  finished_at integer,
  deadline integer
) without rowid;
create index sessions_by_status on sessions (namespace, status, session_id);
create index sessions_by_deadline on sessions (deadline) where deadline is not null;

create table tasks (
  task_id text primary key,
  session_id text not null,
  namespace text not null,
  step text not null,
  item_index integer,
  member integer not null,
  capability text,
  agent text,
  input blob not null,
  created_at integer not null,
  priority integer not null,
  status text not null,
  updated_at integer not null,
  attempt integer not null,
  failures integer not null,
  agent_id text,
  instance_id text,
  due integer,
  finished_at integer,
  output blob,
  error text
) without rowid;

-- What may be claimed now: narrow, and apart from history.
create table ready (
  namespace text not null,
  queue text not null,
  place integer not null,
  task_id text not null,
  session_id text not null,
  expires_at integer,
  primary key (namespace, queue, place, task_id)
) without rowid;
create index ready_by_expiry on ready (expires_at) where expires_at is not null;

-- What waits for its time before it may be claimed.
create table delayed (
  due integer not null,
  task_id text not null,
  session_id text not null,
  primary key (due, task_id)
) without rowid;

-- One row per attempt in flight; deleted when it ends.
create table leases (
  task_id text primary key,
  attempt integer not null,
  session_id text not null,
  namespace text not null,
  agent_id text not null,
  instance_id text not null,
  until integer not null,
  deadline integer
) without rowid;

create table templates (
  namespace text not null,
  name text not null,
  version text not null,
  description text not null,
  digest text not null,
  source blob not null,
  created_at integer not null,
  primary key (namespace, name, version)
) without rowid;

create table agents (
  agent_id text primary key,
  namespace text not null,
  name text not null,
  data blob not null
) without rowid;
create unique index agents_by_name on agents (namespace, name);

create table agent_events (
  position integer primary key,
  namespace text not null,
  agent_id text not null,
  seq integer not null,
  at integer not null,
  type text not null,
  version integer not null,
  data blob not null
);
create unique index agent_events_by_agent on agent_events (agent_id, seq);

-- The only way from one session to another, and what one commit could not hold.
create table outbox (
  outbox_id text primary key,
  namespace text not null,
  kind text not null,
  session_id text not null,
  data blob not null
) without rowid;
