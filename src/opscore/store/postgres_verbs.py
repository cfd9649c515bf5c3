"""What a commit does to PostgreSQL's tables, one verb each, and how verbs make one statement.

Rows travel as one array a column. All verbs of a commit that do not touch the same rows are parts
of a single statement: it needs one round trip, and the server commits it by itself, without BEGIN
and COMMIT. A verb that must see what another one did begins the next statement, and then all of
them stand in one transaction.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from opscore.core.audit import AuditRecord
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

_TYPES: dict[Any, str] = {str: "text", int: "bigint", bytes: "bytea"}


class Verb(NamedTuple):
    """One change of one table: its text with `{}` where the arrays go, and what these hold."""

    name: str
    text: str
    types: tuple[str, ...]


class Part(NamedTuple):
    """A verb with its arrays; parts of one statement never name the same `rows`.

    `rows` None: it must see what all parts before it have done.
    """

    rows: str | None
    verb: Verb
    columns: Sequence[Any]


def part(verb: Verb, table: Collection[Sequence[Any]], rows: str = "") -> Part:
    """A verb with these rows; `rows` names them apart from others of their table."""
    return Part(rows or verb.name.partition(" ")[2], verb, list(zip(*table, strict=True)))


def part_of_keys(verb: Verb, keys: Iterable[Any], rows: str = "") -> Part:
    """A verb of one column."""
    return Part(rows or verb.name.partition(" ")[2], verb, [list(keys)])


def _types(row: Any) -> tuple[str, ...]:
    hints = typing.get_type_hints(row)
    return tuple(_type(hints[name]) for name in row._fields)


def _type(hint: Any) -> str:
    given = [one for one in typing.get_args(hint) if one is not type(None)] or [hint]
    return _TYPES[given[0]]


def _insert(table: str, row: Any, end: str = "", first: str = "", last: str = "") -> Verb:
    """`first` and `last`: columns (name type) that the table has around those of the row."""
    pairs = [*zip(row._fields, _types(row), strict=True)]
    around = [[one.split()] if one else [] for one in (first, last)]
    names, types = zip(*around[0], *pairs, *around[1], strict=True)
    text = f"insert into {table} ({', '.join(names)}) select * from unnest({{}}){end}"
    return Verb(f"insert {table}", text, types)


def _upsert(table: str, row: Any, key: str, changed: Iterable[str] = ()) -> Verb:
    keys = key.split(", ")
    names = list(changed) or [name for name in row._fields if name not in keys]
    sets = ", ".join(f"{name} = excluded.{name}" for name in names)
    verb = _insert(table, row, f" on conflict ({key}) do update set {sets}")
    return verb._replace(name=f"upsert {table}")


def _delete(table: str, key: str, types: str = "text") -> Verb:
    """`key` and `types` of one or several columns."""
    names, kinds = key.split(", "), tuple(types.split())
    if len(names) == 1:
        return Verb(f"delete {table}", f"delete from {table} where {key} = any({{}})", kinds)
    alike = " and ".join(f"t.{name} = k.{name}" for name in names)
    text = f"delete from {table} t using unnest({{}}) k({key}) where {alike}"
    return Verb(f"delete {table}", text, kinds)


def _update(table: str, key: str, names: Sequence[str], types: tuple[str, ...]) -> Verb:
    sets = ", ".join(f"{name} = k.{name}" for name in names if name != key)
    text = (
        f"update {table} t set {sets} from unnest({{}}) k({', '.join(names)}) "
        f"where t.{key} = k.{key}"
    )
    return Verb(f"update {table}", text, types)


ADD_EVENTS = _insert("events", EventRow, first="position bigint", last="task_id text")
ADD_AGENT_EVENTS = _insert("agent_events", AgentEventRow, first="position bigint")
PUT_SESSIONS = _upsert(
    "sessions",
    SessionRow,
    "session_id",
    ("status", "priority", "labels", "updated_at", "finished_at", "deadline"),
)
ADD_TASKS = _insert("tasks", TaskRow, last="error_class text")
CHANGE_TASKS = _update(
    "tasks", "task_id", (*TaskChange._fields, "error_class"), (*_types(TaskChange), "text")
)
_PLACE = ("namespace, queue, place, task_id", "text text bigint text")
ENQUEUE = _insert("ready", ReadyRow)
DEQUEUE = _delete("ready", *_PLACE)
GATE = _insert("gated", GatedRow)
UNGATE = _delete("gated", *_PLACE)
PUT_RATES = _upsert("rates", RateRow, "namespace, key")
END_RATES = _delete("rates", "namespace, key", "text text")
ADMIT = _upsert("admitted", AdmittedRow, "session_id")
LEAVE = _delete("admitted", "session_id")
DELAY = _insert("delayed", DelayedRow)
UNDELAY = _delete("delayed", "due, task_id", "bigint text")
SET_TIMERS = _upsert("timers", TimerRow, "session_id, step")
STOP_TIMERS = _delete("timers", "session_id, step", "text text")
PUT_CALLBACKS = _upsert("callbacks", CallbackRow, "session_id", ("status", "tries", "due", "error"))
PUT_APPROVALS = _upsert("approvals", ApprovalRow, "approval_id", ("status", "data"))
PUT_SCHEDULES = _upsert("schedules", ScheduleRow, "namespace, workflow")
REMOVE_SCHEDULES = _delete("schedules", "namespace, workflow", "text text")
ADD_LEASES = _insert("leases", LeaseRow)
END_LEASES = _delete("leases", "task_id")
EXTEND_LEASES = _update("leases", "task_id", ("task_id", "until"), ("text", "bigint"))
ADD_TEMPLATES = _insert("templates", TemplateRow)
PUT_AGENTS = _upsert("agents", AgentRow, "agent_id", ("name", "data"))
REMOVE_AGENTS = _delete("agents", "agent_id")
PUT_REQUESTS = _upsert(
    "idempotency",
    RequestRow,
    "namespace, owner, route, key",
    ("digest", "created_at", "results", "answer"),
)
FORGET_REQUESTS = Verb(
    "delete idempotency", "delete from idempotency where created_at < {}", ("bigint",)
)
PUT_KEYS = _upsert("keys", KeyRow, "key_id", ("data",))
USE_KEYS = _update("keys", "key_id", ("key_id", "last_used_at"), ("text", "bigint"))
ADD_DEAD = _insert("dead", DeadRow, " on conflict do nothing")
REVIVE = _delete("dead", "session_id")
ADD_OUTBOX = _insert("outbox", OutboxRow, " on conflict do nothing")
END_OUTBOX = _delete("outbox", "outbox_id")
ADD_AUDIT = _insert("audit", AuditRecord)
"""Positions are those that follow the newest record that this server knew when it read."""
REMOVE_SESSIONS = tuple(
    _delete(table, "session_id")
    for table in ("sessions", "events", "tasks", "approvals", "callbacks", "dead")
)

GUARD = (
    "insert into commits (number, first, last, server, at, data) "
    "select $1::bigint + 1, $2::bigint, $3::bigint, $4::text, $5::bigint, $6::bytea "
    "where (select number from commits order by number desc limit 1) = $1 returning number"
)
"""Nothing is written unless this server knows all commits up to now.

The number is unique, so of two that add the same one, the second fails; and who knows less than
the newest adds nothing, and divides by zero.
"""
GUARD_WIDTH = 6


@lru_cache(maxsize=2_000)
def statement(verbs: tuple[Verb, ...], guarded: bool) -> str:
    """One statement of all these verbs; `guarded`: the guard's six parameters come first."""
    texts: list[str] = []
    count = 0
    if guarded:
        texts.append(f"guard as ({GUARD})")
        count = GUARD_WIDTH
    for number, verb in enumerate(verbs):
        given = ", ".join(
            f"${count + i}::{kind}{_array(verb)}" for i, kind in enumerate(verb.types, 1)
        )
        count += len(verb.types)
        texts.append(f"v{number} as ({verb.text.format(given)})")
    ends = "select 1 / (select count(*) from guard)" if guarded else "select 1"
    return f"with {', '.join(texts)} {ends}"


def _array(verb: Verb) -> str:
    return "" if verb is FORGET_REQUESTS else "[]"


def statements(parts: Iterable[Part]) -> list[list[Part]]:
    """In which statements the parts go: as many together as name different rows."""
    groups: list[list[Part]] = [[]]
    named: set[str | None] = set()
    for one in parts:
        if one.rows in named or (one.rows is None and groups[-1]):
            groups.append([])
            named = set()
        groups[-1].append(one)
        named.add(one.rows)
    return groups
