-- Tasks given up for good: few, and apart from history, so that listing them looks at nothing else.
create table dead (
  task_id text primary key,
  session_id text not null,
  namespace text not null
) without rowid;
create index dead_by_session on dead (session_id);
create index dead_by_namespace on dead (namespace, task_id);
