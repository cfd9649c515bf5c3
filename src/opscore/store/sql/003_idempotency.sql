-- Requests that carried an `Idempotency-Key`: what their commands gave, written in the commit of the
-- change itself, and then the answer that the caller got. `owner` is who holds the API key.
create table idempotency (
  namespace text not null,
  owner text not null,
  route text not null,
  key text not null,
  digest blob not null,
  created_at integer not null,
  results blob,
  answer blob,
  primary key (namespace, owner, route, key)
) without rowid;
create index idempotency_by_age on idempotency (created_at);
