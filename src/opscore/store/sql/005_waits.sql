-- Until when steps wait. Narrow, and apart from sessions: a million of them cost dispatch nothing.
create table timers (
  session_id text not null,
  step text not null,
  due integer not null,
  primary key (session_id, step)
) without rowid;
create index timers_by_due on timers (due);

-- What people are or were asked; `data` has the content and what was said of it.
create table approvals (
  approval_id text primary key,
  namespace text not null,
  session_id text not null,
  step text not null,
  status text not null,
  data blob not null
) without rowid;
create index approvals_by_status on approvals (namespace, status, approval_id);
create index approvals_by_session on approvals (session_id);
