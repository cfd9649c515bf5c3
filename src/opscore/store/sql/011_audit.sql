-- Who changed what by order. A row never changes, and its hash covers it and the row before it in the
-- chain of its writer (`core/audit.py`). `position` is the order in which all chains were written.
create table audit (
  position integer primary key,
  writer text not null,
  seq integer not null,
  at integer not null,
  namespace text not null,
  actor text not null,
  key_id text,
  action text not null,
  subject text,
  details text not null,
  heads text,
  hash blob not null
);
create unique index audit_by_writer on audit (writer, seq);
create index audit_by_subject on audit (subject, position) where subject is not null;
create index audit_by_actor on audit (actor, position);
create index audit_vouching on audit (position) where heads is not null;
