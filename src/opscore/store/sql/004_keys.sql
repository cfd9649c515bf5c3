-- API keys. Only a hash of a key's text is in `data`; `last_used_at` is written late, by itself.
create table keys (
  key_id text primary key,
  namespace text not null,
  data blob not null,
  last_used_at integer
) without rowid;
