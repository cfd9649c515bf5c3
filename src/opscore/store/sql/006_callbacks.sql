-- Whom to tell when a session has ended, and what became of it. `due`: when it is tried again.
create table callbacks (
  session_id text primary key,
  namespace text not null,
  url text not null,
  status text not null,
  tries integer not null,
  due integer,
  error text
) without rowid;
create index callbacks_pending on callbacks (status) where status = 'pending';
