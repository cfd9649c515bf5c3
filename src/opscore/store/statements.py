"""Every SQL statement, one verb each. Bulk verbs take rows by the hundred in one statement.

A row-by-row `executemany` costs 10 to 15 % more than values lists on an idle machine, and each of
its rows is a chance to lose the interpreter's lock to another thread. Hence values lists, and never
a loop of single rows.

`or rollback` on the hot tables: a statement of many rows that could fail half-way makes SQLite copy
every page it touches into a second journal, 4 of 42 µs a step. Whatever fails here ends the whole
transaction anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from opscore.core.types import PUSHED
from opscore.store.gate_rows import AdmittedRow, GatedRow, RateRow
from opscore.store.key_rows import KeyRow
from opscore.store.rows import (
    AgentEventRow,
    AgentRow,
    ApprovalRow,
    CallbackRow,
    DeadRow,
    DelayedRow,
    EventRow,
    LeaseRow,
    OutboxRow,
    ReadyRow,
    RequestRow,
    ScheduleRow,
    SessionRow,
    TaskChange,
    TaskRow,
    TemplateRow,
    TimerRow,
)
from opscore.store.store import Filters

EVENT_COLUMNS = "position, session_id, seq, at, type, version, data"
AGENT_EVENT_COLUMNS = "position, agent_id, seq, at, type, version, data"


def _columns(row: Any) -> str:
    return ", ".join(row._fields)


LONGEST = 16_000
"""Characters of a statement; apsw prepares longer ones (16,384 bytes) again each time."""


@lru_cache(maxsize=1_000)
def values(head: str, width: int, rows: int, tail: str = "") -> str:
    """`head`, then `(?,?),(?,?)` for `rows` rows of `width` columns, then `tail`."""
    one = "(" + ",".join("?" * width) + ")"
    return head + ",".join([one] * rows) + tail


@lru_cache(maxsize=1_000)
def keys(head: str, count: int, tail: str = "") -> str:
    """`head`, then `(?,?,?)` for `count` keys, then `tail`."""
    return head + "(" + ",".join("?" * count) + ")" + tail


def most_rows(width: int) -> int:
    """How many rows of so many columns go into one statement: a power of two."""
    return 1 << ((LONGEST - 1_000) // (2 * width + 2)).bit_length() - 1


def chunks(rows: list[Any], most: int) -> Iterable[list[Any]]:
    """As many rows at once as go, the rest in powers of two: so few statements are prepared."""
    start, left = 0, len(rows)
    while left:
        size = most if left >= most else 1 << (left.bit_length() - 1)
        yield rows[start : start + size]
        start += size
        left -= size


ADD_EVENTS = f"insert or rollback into events (position, {_columns(EventRow)}) values "
ADD_AGENT_EVENTS = f"insert into agent_events (position, {_columns(AgentEventRow)}) values "

PUT_SESSIONS = f"insert or rollback into sessions ({_columns(SessionRow)}) values "
PUT_SESSIONS_END = (
    " on conflict (session_id) do update set "
    "status = excluded.status, priority = excluded.priority, labels = excluded.labels, "
    "updated_at = excluded.updated_at, finished_at = excluded.finished_at, "
    "deadline = excluded.deadline"
)

ADD_TASKS = f"insert or rollback into tasks ({_columns(TaskRow)}) values "
_CHANGED = [n for n in TaskChange._fields if n != "task_id"]
CHANGE_TASKS = (
    "update or rollback tasks set "
    + ", ".join(f"{name} = v.column{i}" for i, name in enumerate(_CHANGED, 2))
    + " from (values "
)
CHANGE_TASKS_END = ") v where tasks.task_id = v.column1"

ENQUEUE = f"insert or rollback into ready ({_columns(ReadyRow)}) values "
DEQUEUE = "delete from ready where (namespace, queue, place, task_id) in (values "

GATE = f"insert or rollback into gated ({_columns(GatedRow)}) values "
UNGATE = "delete from gated where (namespace, queue, place, task_id) in (values "
PUT_RATES = f"insert into rates ({_columns(RateRow)}) values "
PUT_RATES_END = (
    " on conflict (namespace, key) do update set "
    "tat = excluded.tat, starts = excluded.starts, per = excluded.per"
)
END_RATES = "delete from rates where (namespace, key) in (values "

ADMIT = f"insert or replace into admitted ({_columns(AdmittedRow)}) values "
LEAVE = "delete from admitted where session_id in "
ADMITTED = f"select {_columns(AdmittedRow)} from admitted"

DELAY = f"insert into delayed ({_columns(DelayedRow)}) values "
UNDELAY = "delete from delayed where (due, task_id) in (values "

SET_TIMERS = f"insert or replace into timers ({_columns(TimerRow)}) values "
STOP_TIMERS = "delete from timers where (session_id, step) in (values "

PUT_CALLBACKS = f"insert into callbacks ({_columns(CallbackRow)}) values "
PUT_CALLBACKS_END = (
    " on conflict (session_id) do update set status = excluded.status, tries = excluded.tries, "
    "due = excluded.due, error = excluded.error"
)
CALLBACK = f"select {_columns(CallbackRow)} from callbacks where session_id = ?"
PENDING_CALLBACKS = f"select {_columns(CallbackRow)} from callbacks where status = 'pending'"
PUT_APPROVALS = f"insert into approvals ({_columns(ApprovalRow)}) values "
PUT_APPROVALS_END = (
    " on conflict (approval_id) do update set status = excluded.status, data = excluded.data"
)

PUT_SCHEDULES = f"insert or replace into schedules ({_columns(ScheduleRow)}) values "
REMOVE_SCHEDULES = "delete from schedules where (namespace, workflow) in (values "
SCHEDULES = f"select {_columns(ScheduleRow)} from schedules order by namespace, workflow"

ADD_LEASES = f"insert or rollback into leases ({_columns(LeaseRow)}) values "
END_LEASES = "delete from leases where task_id in "
EXTEND_LEASES = "update leases set until = v.column2 from (values "
EXTEND_LEASES_END = ") v where leases.task_id = v.column1"

ADD_TEMPLATES = f"insert into templates ({_columns(TemplateRow)}) values "

PUT_AGENTS = f"insert into agents ({_columns(AgentRow)}) values "
PUT_AGENTS_END = " on conflict (agent_id) do update set name = excluded.name, data = excluded.data"
REMOVE_AGENTS = "delete from agents where agent_id in "

PUT_REQUESTS = f"insert into idempotency ({_columns(RequestRow)}) values "
PUT_REQUESTS_END = (
    " on conflict (namespace, owner, route, key) do update set digest = excluded.digest, "
    "created_at = excluded.created_at, results = excluded.results, answer = excluded.answer"
)
FORGET_REQUESTS = "delete from idempotency where created_at < ?"
REQUEST = (
    f"select {_columns(RequestRow)} from idempotency "
    "where namespace = ? and owner = ? and route = ? and key = ?"
)

PUT_KEYS = f"insert into keys ({_columns(KeyRow)}) values "
PUT_KEYS_END = " on conflict (key_id) do update set data = excluded.data"
USE_KEYS = "update keys set last_used_at = v.column2 from (values "
USE_KEYS_END = ") v where keys.key_id = v.column1"

ADD_DEAD = f"insert or replace into dead ({_columns(DeadRow)}) values "
REVIVE = "delete from dead where session_id in "

ADD_OUTBOX = f"insert or ignore into outbox ({_columns(OutboxRow)}) values "
END_OUTBOX = "delete from outbox where outbox_id in "

REMOVE_SESSIONS = (
    "delete from sessions where session_id in ",
    "delete from events where session_id in ",
    "delete from tasks where session_id in ",
    "delete from approvals where session_id in ",
    "delete from callbacks where session_id in ",
    "delete from dead where session_id in ",
)

CANDIDATES = (
    f"select {_columns(ReadyRow)} from ready where namespace = ? and queue = ? "
    "order by place, task_id limit ?"
)
LEASES_OF_TASKS = f"select {_columns(LeaseRow)} from leases where task_id in "
LEASES_OF_INSTANCES = f"select {_columns(LeaseRow)} from leases where instance_id in "
RENEW_LEASES = (
    "update leases set until = max(?1 + max(?2, coalesce(heartbeat, 0)), "
    f"iif(instance_id glob '{PUSHED}*', min(until, max(?1 + ?3, coalesce(deadline, 0) + ?2)), 0))"
)
KEEP_META = "insert or ignore into meta (key, value) values (?, ?)"
META = "select value from meta where key = ?"
LEASES_OF_AGENTS = f"select {_columns(LeaseRow)} from leases where agent_id in "

JOURNAL = (
    f"select {EVENT_COLUMNS} from events where session_id = ? and seq > ? order by seq limit ?"
)
LAST_POSITION = (
    "select max(coalesce((select max(position) from events), 0), "
    "coalesce((select max(position) from agent_events), 0), "
    "coalesce((select cast(value as integer) from meta where key = 'position'), 0))"
)
KEEP_POSITION = (
    "insert into meta (key, value) values ('position', ?) "
    "on conflict (key) do update set value = excluded.value"
)
JOURNALS = f"select {EVENT_COLUMNS} from events where session_id in "
JOURNALS_END = " order by session_id, seq"
AGENT_JOURNAL = (
    f"select {AGENT_EVENT_COLUMNS} from agent_events where agent_id = ? and seq > ? "
    "order by seq limit ?"
)
AGENT_OWNER = "select namespace from agent_events where agent_id = ? limit 1"
HAPPENED = (
    "select e.position, e.session_id, e.seq, e.at, e.type, e.version, e.data, false, "
    "s.workflow, s.agent_id, coalesce(l.agent_id, t.agent_id), t.capability "
    "from events e join sessions s on s.session_id = e.session_id "
    "left join tasks t on t.task_id = json_extract(e.data, '$.task_id') "
    "left join leases l on l.task_id = t.task_id "
    "where e.position > ?1 and e.position <= ?2 and s.namespace = ?3 "
    "union all select position, agent_id, seq, at, type, version, data, true, "
    "null, agent_id, null, null from agent_events "
    "where position > ?1 and position <= ?2 and namespace = ?3 order by 1"
)
TASK_EVENTS = (
    f"select {EVENT_COLUMNS} from events where session_id = ? "
    "and json_extract(data, '$.task_id') = ? order by seq"
)

SESSION = f"select {_columns(SessionRow)} from sessions where session_id = ?"
SESSIONS = f"select {_columns(SessionRow)} from sessions where "
_PICTURE = (
    "select "
    + ", ".join(f"tasks.{name}" for name in TaskRow._fields)
    + ", "
    + ", ".join(f"leases.{name}" for name in LeaseRow._fields)
    + " from tasks left join leases on leases.task_id = tasks.task_id where "
)
TASK = f"{_PICTURE} tasks.task_id = ?"
TASKS = _PICTURE

SESSION_CONDITIONS = {
    "namespace": "namespace = ?",
    "workflow": "workflow = ?",
    "status": "status = ?",
    "agent_id": "agent_id = ?",
    "label": "exists (select 1 from json_each(labels) l where l.key || '=' || l.value = ?)",
    "since": "created_at >= ?",
    "until": "created_at < ?",
    "before": "session_id < ?",
}
APPROVALS = f"select {_columns(ApprovalRow)} from approvals where "
APPROVAL_CONDITIONS = {
    "namespace": "namespace = ?",
    "status": "status = ?",
    "session_id": "session_id = ?",
    "approval_id": "approval_id = ?",
    "before": "approval_id < ?",
}
TASK_CONDITIONS = {
    "namespace": "tasks.namespace = ?",
    # A task that runs has a lease; its own row still says what it was before.
    "status": "coalesce(iif(leases.task_id is null, null, 'running'), tasks.status) = ?",
    "agent_id": "coalesce(leases.agent_id, tasks.agent_id) = ?",
    "capability": "tasks.capability = ?",
    "dead_in": "tasks.task_id in (select task_id from dead where namespace = ?)",
    "error_class": "json_extract(tasks.error, '$[0]') = ?",
    "workflow": "tasks.session_id in (select session_id from sessions where workflow = ?)",
    # Tasks carry their session's id, and '.' follows '-': a range of the primary key.
    "session_id": "tasks.task_id > replace(?, 'ses_', 'tsk_') || '-' "
    "and tasks.task_id < replace(?, 'ses_', 'tsk_') || '.'",
    "before": "tasks.task_id < ?",
}

DUE_LEASES = (
    f"select {_columns(LeaseRow)} from leases where until <= ?1 "
    f"union select {_columns(LeaseRow)} from leases where deadline <= ?1 limit ?2"
)
DUE_DELAYED = "select task_id, session_id from delayed where due <= ? order by due limit ?"
DUE_READY = (
    f"select {_columns(ReadyRow)} from ready where expires_at <= ?1 "
    f"union all select {_columns(ReadyRow)} from gated where expires_at <= ?1 limit ?2"
)
DUE_TIMERS = f"select {_columns(TimerRow)} from timers where due <= ? order by due limit ?"
DUE_SESSIONS = "select session_id from sessions where deadline <= ? order by deadline limit ?"
NEXT_DUE = (
    "select min(at) from (select min(until) at from leases union all "
    "select min(deadline) from leases union all select min(due) from delayed union all "
    "select min(expires_at) from ready where expires_at is not null union all "
    "select min(due) from timers union all "
    "select min(expires_at) from gated where expires_at is not null union all "
    "select min(deadline) from sessions where deadline is not null)"
)

TEMPLATES = f"select {_columns(TemplateRow)} from templates order by created_at, name, version"
AGENTS = f"select {_columns(AgentRow)} from agents order by agent_id"
KEYS = "select data, last_used_at from keys order by key_id"
OUTBOX = f"select {_columns(OutboxRow)} from outbox order by outbox_id"
GATED_LEASES = f"select {_columns(LeaseRow)} from leases where terms is not null"
GATED = f"select {_columns(GatedRow)} from gated"
RATES = f"select {_columns(RateRow)} from rates"
AHEAD = (
    "select count(*) from (select 1 from ready where namespace = ? and queue = ? "
    "and (place, task_id) < (?, ?) limit 100000)"
)
QUEUES = "select namespace, queue, count(*) from ready group by namespace, queue"

COUNTED_TABLES = (
    *("sessions", "tasks", "events", "ready", "delayed", "timers", "approvals"),
    *("leases", "agents"),
)


def where(conditions: dict[str, str], filters: Filters) -> tuple[str, list[Any]]:
    """The condition that all given filters make, and its parameters."""
    texts: list[str] = []
    given: list[Any] = []
    for name, value in filters.items():
        if value is not None:
            texts.append(conditions[name])
            given += [value] * conditions[name].count("?")
    return " and ".join(texts) or "true", given


COUNT_COMPLETED = "select count(*) from tasks where status = 'completed'"
