"""What PostgreSQL is asked. Where SQLite's words say the same, they are taken from there."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from opscore.core.types import PUSHED
from opscore.store import statements as sql
from opscore.store import workload as work
from opscore.store.audit_rows import AUDIT_CONDITIONS as SQLITE_AUDIT_CONDITIONS
from opscore.store.rows import LeaseRow, ReadyRow, TaskRow

_GAP = re.compile(r"\?(\d*)")


@lru_cache(maxsize=500)
def numbered(text: str) -> str:
    """SQLite's `?` and `?2` as PostgreSQL's `$1` and `$2`."""
    count = 0

    def number(gap: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"${gap[1] or count}"

    return _GAP.sub(number, text)


def _columns(row: Any, table: str) -> str:
    return ", ".join(f"{table}.{name}" for name in row._fields)


CANDIDATES = (
    f"select {_columns(ReadyRow, 'r')} from "
    "unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) q(namespace, queue, mark, most), "
    "lateral (select * from ready where ready.namespace = q.namespace and ready.queue = q.queue "
    "and ready.place >= q.mark order by ready.place, ready.task_id limit q.most) r"
)
LEASES_OF_TASKS = f"select {_columns(LeaseRow, 'leases')} from leases where task_id = any($1)"
LEASES_OF_INSTANCES = (
    f"select {_columns(LeaseRow, 'leases')} from leases where instance_id = any($1)"
)
LEASES_OF_AGENTS = f"select {_columns(LeaseRow, 'leases')} from leases where agent_id = any($1)"
JOURNALS = (
    "select e.position, e.session_id, e.seq, e.at, e.type, e.version, e.data "
    "from unnest($1::text[], $2::bigint[]) k(session_id, after) "
    "join events e on e.session_id = k.session_id and e.seq > k.after "
    "order by e.session_id, e.seq"
)
LAST_POSITION = "select last from commits order by number desc limit 1"
HAPPENED = (
    "select e.position, e.session_id, e.seq, e.at, e.type, e.version, e.data, false, "
    "s.workflow, s.agent_id, coalesce(l.agent_id, t.agent_id), t.capability "
    "from events e join sessions s on s.session_id = e.session_id "
    "left join tasks t on t.task_id = e.task_id "
    "left join leases l on l.task_id = t.task_id "
    "where e.position > $1 and e.position <= $2 and s.namespace = $3 "
    "union all select position, agent_id, seq, at, type, version, data, true, "
    "null, agent_id, null, null from agent_events "
    "where position > $1 and position <= $2 and namespace = $3 order by 1"
)
TASK_EVENTS = (
    f"select {sql.EVENT_COLUMNS} from events where session_id = $1 and task_id = $2 order by seq"
)
SESSION_CONDITIONS = {
    **sql.SESSION_CONDITIONS,
    # PostgreSQL reads no JSON that has a NUL in it, and text that is asked for has none.
    "label": "exists (select 1 from json_each_text(case when strpos(labels, '\\u0000') > 0 "
    "then '{}' else labels::json end) l where l.key || '=' || l.value = ?)",
}
TASK_CONDITIONS = {
    **sql.TASK_CONDITIONS,
    "status": "(case when leases.task_id is null then tasks.status else 'running' end) = ?",
    "error_class": "tasks.error_class = ?",
}
AUDIT_CONDITIONS = {
    **SQLITE_AUDIT_CONDITIONS,
    # The ids of sessions that were started together are JSON strings in their record's details.
    "subject": "(subject = ? or (action = 'session.started' and subject is null "
    "and ? like 'ses\\_%' and strpos(details, '\"' || ? || '\"') > 0))",
}

DUE_LEASES = (
    f"select {_columns(LeaseRow, 'leases')} from leases where until >= $2 and until <= $1 "
    f"union select {_columns(LeaseRow, 'leases')} from leases "
    "where deadline >= $2 and deadline <= $1 limit $3"
)
DUE_DELAYED = (
    "select task_id, session_id from delayed where due >= $2 and due <= $1 order by due limit $3"
)
DUE_READY = (
    f"select {_columns(ReadyRow, 'ready')} from ready where expires_at >= $2 and expires_at <= $1 "
    f"union all select {_columns(ReadyRow, 'gated')} from gated "
    "where expires_at >= $2 and expires_at <= $1 limit $3"
)
DUE_TIMERS = (
    "select session_id, step, due from timers where due >= $2 and due <= $1 order by due limit $3"
)
DUE_SESSIONS = (
    "select session_id from sessions where deadline >= $2 and deadline <= $1 "
    "order by deadline limit $3"
)
NEXT_DUE = (
    "select min(at) from (select min(until) at from leases where until >= $1 union all "
    "select min(deadline) from leases where deadline >= $1 union all "
    "select min(due) from delayed where due >= $1 union all "
    "select min(expires_at) from ready where expires_at >= $1 union all "
    "select min(due) from timers where due >= $1 union all "
    "select min(expires_at) from gated where expires_at >= $1 union all "
    "select min(deadline) from sessions where deadline >= $1) times"
)
AHEAD = (
    "select count(*) from (select 1 from ready where namespace = $1 and queue = $2 "
    "and place >= $5 and (place, task_id) < ($3, $4) limit 100000) places"
)
RENEW_LEASES = (
    "update leases set until = greatest($1::bigint + greatest($2::bigint, coalesce(heartbeat, 0)), "
    f"case when instance_id like '{PUSHED}%' "
    "then least(until, greatest($1 + $3::bigint, coalesce(deadline, 0) + $2)) else 0 end)"
)
KEEP_META = "insert into opscore_meta (key, value) values ($1, $2) on conflict (key) do nothing"
META = "select value from opscore_meta where key = $1"

RECENT_WORK = (
    "select e.task_id, e.type, e.at, e.data, s.workflow, t.step, coalesce(t.capability, t.agent) "
    "from (select position, session_id, at, type, data, task_id from events "
    "order by position desc limit $1) e join sessions s on s.session_id = e.session_id "
    "join tasks t on t.task_id = e.task_id where s.namespace = $2 and e.at >= $3 and e.type in ("
    "'task.created', 'task.available', 'task.claimed', 'task.released', 'task.completed', "
    "'task.retried', 'task.failed', 'task.cancelled') order by e.position"
)
USAGE = (
    "select e.position, e.type, e.at, e.data, s.workflow, coalesce(t.capability, t.agent), "
    "(select c.data from events c where c.session_id = e.session_id and c.seq < e.seq "
    "and c.type = 'task.claimed' and c.task_id = e.task_id order by c.seq desc limit 1) "
    "from events e join sessions s on s.session_id = e.session_id "
    "join tasks t on t.task_id = e.task_id "
    "where e.position > $1 and e.position <= $2 and s.namespace = $3 and e.at >= $4 "
    "and e.type in ('task.completed', 'task.retried', 'task.failed') "
    "and position('\"usage\":'::bytea in e.data) > 0 order by e.position"
)
"""What mentions usage; whether an event really tells some is seen when it is read."""

PICTURE_WIDTH = len(TaskRow._fields)
COUNTS = {table: f"select count(*) from {table}" for table in sql.COUNTED_TABLES} | {
    "completed": sql.COUNT_COMPLETED
}
WORKLOAD = {name: numbered(text) for name, text in work.COUNTS.items()}
"""Counts of a namespace by name, as `Workload` has them."""
FIRST = (
    "select q.queue, t.created_at from unnest($2::text[]) q(queue), "
    "lateral (select task_id from ready r where r.namespace = $1 and r.queue = q.queue "
    "and r.place >= $3 order by r.place, r.task_id limit 1) f "
    "join tasks t on t.task_id = f.task_id"
)
