-- The first shape of the store on PostgreSQL. Times are microseconds since the epoch. Text is ordered by
-- its bytes ("C"), as everywhere else in Ops-Core, whatever the database's own collation is. What may
-- hold any text a person or an agent sends is bytea: text cannot hold a NUL.

create table opscore_meta (
  key text collate "C" not null,
  value text collate "C" not null,
  primary key (key)
);
insert into opscore_meta (key, value) values ('min_version', '1');

-- Every commit of every server, as the others hear of it: numbered without a gap, and so are the
-- positions of all events. Its last row is where the store ends; it is only inserted into and trimmed,
-- so no snapshot held open makes finding that row slower.
create table commits (
  number bigint not null,
  first bigint not null,
  last bigint not null,
  server text collate "C" not null,
  at bigint not null,
  data bytea not null,
  primary key (number)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);
insert into commits values (0, 1, 0, '', 0, '');

-- What servers say of themselves; of no use after a crash.
create unlogged table servers (
  server text collate "C" not null,
  at bigint not null,
  data bytea not null,
  primary key (server)
) with (fillfactor = 50);

-- Appended in commit order: `position` is the feed's cursor. `task_id` stands in `data` too; here it can
-- be asked for without reading JSON, whose escapes PostgreSQL may refuse.
create table events (
  position bigint not null,
  session_id text collate "C" not null,
  seq integer not null,
  at bigint not null,
  type text collate "C" not null,
  version smallint not null,
  data bytea not null,
  task_id text collate "C",
  primary key (position)
) with (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 500000);
create unique index events_by_session on events (session_id, seq);

create table sessions (
  session_id text collate "C" not null,
  namespace text collate "C" not null,
  workflow text collate "C" not null,
  version text collate "C" not null,
  status text collate "C" not null,
  priority integer not null,
  labels text collate "C" not null,
  agent_id text collate "C",
  trace_id text collate "C" not null,
  created_at bigint not null,
  updated_at bigint not null,
  finished_at bigint,
  deadline bigint,
  primary key (session_id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);
create index sessions_by_status on sessions (namespace, status, session_id);
create index sessions_by_deadline on sessions (deadline) where deadline is not null;

-- Updated in place: no index holds a column that changes. `error_class` stands in `error` too.
create table tasks (
  task_id text collate "C" not null,
  session_id text collate "C" not null,
  namespace text collate "C" not null,
  step text collate "C" not null,
  item_index integer,
  member integer not null,
  capability text collate "C",
  agent text collate "C",
  input bytea not null,
  created_at bigint not null,
  priority integer not null,
  status text collate "C" not null,
  updated_at bigint not null,
  attempt integer not null,
  failures integer not null,
  agent_id text collate "C",
  instance_id text collate "C",
  due bigint,
  finished_at bigint,
  output bytea,
  error text collate "C",
  error_class text collate "C",
  primary key (task_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);

-- What may be claimed now: narrow, apart from history, and vacuumed often: rows live for moments.
create table ready (
  namespace text collate "C" not null,
  queue text collate "C" not null,
  place bigint not null,
  task_id text collate "C" not null,
  session_id text collate "C" not null,
  expires_at bigint,
  primary key (namespace, queue, place, task_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);
create index ready_by_expiry on ready (expires_at) where expires_at is not null;

-- Tasks that may be claimed once there is room under their limits, which `terms` are, as JSON.
create table gated (
  namespace text collate "C" not null,
  queue text collate "C" not null,
  place bigint not null,
  task_id text collate "C" not null,
  session_id text collate "C" not null,
  expires_at bigint,
  terms text collate "C" not null,
  primary key (namespace, queue, place, task_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);
create index gated_by_expiry on gated (expires_at) where expires_at is not null;

-- One row for each rate in use: its theoretical arrival time (GCRA), and the bound last seen.
create table rates (
  namespace text collate "C" not null,
  key text collate "C" not null,
  tat bigint not null,
  starts bigint not null,
  per bigint not null,
  primary key (namespace, key)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);

-- A session that has found room under the limits of its template, until it ends.
create table admitted (
  session_id text collate "C" not null,
  namespace text collate "C" not null,
  terms text collate "C" not null,
  primary key (session_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);

-- What waits for its time before it may be claimed.
create table delayed (
  due bigint not null,
  task_id text collate "C" not null,
  session_id text collate "C" not null,
  primary key (due, task_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);

-- One row per attempt in flight; deleted when it ends.
create table leases (
  task_id text collate "C" not null,
  attempt integer not null,
  session_id text collate "C" not null,
  namespace text collate "C" not null,
  agent_id text collate "C" not null,
  instance_id text collate "C" not null,
  until bigint not null,
  deadline bigint,
  heartbeat bigint,
  terms text collate "C",
  primary key (task_id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);
create index leases_by_time on leases (until);
create index leases_by_deadline on leases (deadline) where deadline is not null;
create index leases_with_terms on leases (task_id) where terms is not null;

create table templates (
  namespace text collate "C" not null,
  name text collate "C" not null,
  version text collate "C" not null,
  description text collate "C" not null,
  digest text collate "C" not null,
  source bytea not null,
  created_at bigint not null,
  primary key (namespace, name, version)
);

create table agents (
  agent_id text collate "C" not null,
  namespace text collate "C" not null,
  name text collate "C" not null,
  data bytea not null,
  primary key (agent_id)
);
create unique index agents_by_name on agents (namespace, name);

-- In one sequence of positions with `events`.
create table agent_events (
  position bigint not null,
  namespace text collate "C" not null,
  agent_id text collate "C" not null,
  seq integer not null,
  at bigint not null,
  type text collate "C" not null,
  version smallint not null,
  data bytea not null,
  primary key (position)
) with (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 500000);
create unique index agent_events_by_agent on agent_events (agent_id, seq);

-- The only way from one session to another, and what one commit could not hold.
create table outbox (
  outbox_id text collate "C" not null,
  namespace text collate "C" not null,
  kind text collate "C" not null,
  session_id text collate "C" not null,
  data bytea not null,
  primary key (outbox_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);

-- Requests that carried an `Idempotency-Key`: what their commands gave, and then the answer. `owner` is
-- who holds the API key.
create table idempotency (
  namespace text collate "C" not null,
  owner text collate "C" not null,
  route text collate "C" not null,
  key text collate "C" not null,
  digest bytea not null,
  created_at bigint not null,
  results bytea,
  answer bytea,
  primary key (namespace, owner, route, key)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);
create index idempotency_by_age on idempotency (created_at);

-- API keys. Only a hash of a key's text is in `data`; `last_used_at` is written late, by itself.
create table keys (
  key_id text collate "C" not null,
  namespace text collate "C" not null,
  data bytea not null,
  last_used_at bigint,
  primary key (key_id)
);

-- Until when steps wait.
create table timers (
  session_id text collate "C" not null,
  step text collate "C" not null,
  due bigint not null,
  primary key (session_id, step)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);
create index timers_by_due on timers (due);

-- What people are or were asked; `data` has the content and what was said of it.
create table approvals (
  approval_id text collate "C" not null,
  namespace text collate "C" not null,
  session_id text collate "C" not null,
  step text collate "C" not null,
  status text collate "C" not null,
  data bytea not null,
  primary key (approval_id)
);
create index approvals_by_status on approvals (namespace, status, approval_id);
create index approvals_by_session on approvals (session_id);

-- Whom to tell when a session has ended, and what became of it. `due`: when it is tried again.
create table callbacks (
  session_id text collate "C" not null,
  namespace text collate "C" not null,
  url text collate "C" not null,
  status text collate "C" not null,
  tries integer not null,
  due bigint,
  error text collate "C",
  primary key (session_id)
);
create index callbacks_pending on callbacks (status) where status = 'pending';

-- When workflows start by themselves. Few: all of them are in memory too.
create table schedules (
  namespace text collate "C" not null,
  workflow text collate "C" not null,
  version text collate "C" not null,
  origin bigint not null,
  paused integer not null,
  next_at bigint,
  last_session text collate "C",
  last_at bigint,
  queued text collate "C" not null,
  missed integer not null,
  primary key (namespace, workflow)
);

-- Tasks given up for good: few, and apart from history.
create table dead (
  task_id text collate "C" not null,
  session_id text collate "C" not null,
  namespace text collate "C" not null,
  primary key (task_id)
);
create index dead_by_session on dead (session_id);
create index dead_by_namespace on dead (namespace, task_id);

-- Who changed what by order. A row never changes, and its hash covers it and the row before it in the
-- chain of its writer (`core/audit.py`). `position` is the order in which all chains were written.
create table audit (
  position bigint not null,
  writer text collate "C" not null,
  seq integer not null,
  at bigint not null,
  namespace text collate "C" not null,
  actor text collate "C" not null,
  key_id text collate "C",
  action text collate "C" not null,
  subject text collate "C",
  details text collate "C" not null,
  heads text collate "C",
  hash bytea not null,
  primary key (position)
);
create unique index audit_by_writer on audit (writer, seq);
create index audit_by_subject on audit (subject, position) where subject is not null;
create index audit_by_actor on audit (actor, position);
create index audit_vouching on audit (position) where heads is not null;
