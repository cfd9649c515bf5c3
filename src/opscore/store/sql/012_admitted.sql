-- A session that has found room under the limits of its template, until it ends; those that wait for
-- room stand in `gated`, in a queue from which nobody claims. `terms` are its limits, as JSON.
create table admitted (
  session_id text primary key,
  namespace text not null,
  terms text not null
) without rowid;
