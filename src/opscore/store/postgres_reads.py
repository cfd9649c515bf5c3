"""Reading beside the write path: the verbs of the PostgreSQL store that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import msgspec

from opscore.core.audit import AuditRecord, Ends, as_heads, open_ends, vouched_by
from opscore.core.types import Json, Micros
from opscore.store import audit_rows
from opscore.store import postgres_statements as sql
from opscore.store import statements as shared
from opscore.store.gate_rows import AdmittedRow, GatedRow, GateRows, RateRow
from opscore.store.happened import Happened
from opscore.store.key_rows import StoredKey
from opscore.store.postgres_connect import Connection, Readers
from opscore.store.postgres_marks import LOWEST, Marks
from opscore.store.rows import (
    AgentRow,
    ApprovalRow,
    CallbackRow,
    LeaseRow,
    OutboxRow,
    QueueDepth,
    ReadyRow,
    RequestName,
    RequestRow,
    ScheduleRow,
    SessionRow,
    StoredEvent,
    TaskPicture,
    TaskRow,
    TemplateRow,
    TimerRow,
)
from opscore.store.store import DueWork, Filters
from opscore.store.work_rows import UsageRow, WorkRow
from opscore.store.workload import Workload

T = TypeVar("T")
FULL_SCAN: Micros = 60_000_000
"""So often what is due is looked for from the beginning of time."""
MARGIN: Micros = 10_000_000
"""A row may be written with a deadline that has been past for so long."""


class _Told(msgspec.Struct):
    """What is asked of the data of tasks' events."""

    due: Micros | None = None
    usage: msgspec.Raw | None = None
    agent_id: str | None = None


_told = msgspec.json.Decoder(_Told).decode


class PostgresReads:
    """Every read borrows one of a few connections."""

    _readers: Readers
    _marks: Marks

    def __init__(self) -> None:
        self._due_from = LOWEST
        self._due_full: Micros = 0

    async def journal(self, session_id: str, after: int, limit: int) -> list[StoredEvent]:
        """See `Store.journal`."""
        return await self._read(StoredEvent, shared.JOURNAL, session_id, after, limit)

    async def agent_journal(self, agent_id: str, after: int, limit: int) -> list[StoredEvent]:
        """See `Store.agent_journal`."""
        return await self._read(StoredEvent, shared.AGENT_JOURNAL, agent_id, after, limit)

    async def agent_owner(self, agent_id: str) -> str | None:
        """See `Store.agent_owner`."""
        return await self._value(shared.AGENT_OWNER, agent_id)

    async def happened(self, namespace: str, after: int, until: int) -> list[Happened]:
        """See `Store.happened`."""
        return await self._read(Happened, sql.HAPPENED, after, until, namespace)

    async def last_position(self) -> int:
        """See `Store.last_position`."""
        return await self._value(sql.LAST_POSITION)

    async def session(self, session_id: str) -> SessionRow | None:
        """See `Store.session`."""
        return _first(await self._read(SessionRow, shared.SESSION, session_id))

    async def sessions(self, filters: Filters, before: str | None, limit: int) -> list[SessionRow]:
        """See `Store.sessions`."""
        where, given = shared.where(sql.SESSION_CONDITIONS, {**filters, "before": before})
        statement = f"{shared.SESSIONS}{where} order by session_id desc limit ?"
        return await self._read(SessionRow, statement, *given, limit)

    async def task(self, task_id: str) -> TaskPicture | None:
        """See `Store.task`."""
        return _first(await self._read(_picture, shared.TASK, task_id))

    async def tasks(self, filters: Filters, before: str | None, limit: int) -> list[TaskPicture]:
        """See `Store.tasks`."""
        where, given = shared.where(sql.TASK_CONDITIONS, {**filters, "before": before})
        statement = f"{shared.TASKS}{where} order by tasks.task_id desc limit ?"
        return await self._read(_picture, statement, *given, limit)

    async def task_events(self, session_id: str, task_id: str) -> list[StoredEvent]:
        """See `Store.task_events`."""
        return await self._read(StoredEvent, sql.TASK_EVENTS, session_id, task_id)

    async def recent_work(self, namespace: str, since: Micros, events: int) -> list[WorkRow]:
        """See `Store.recent_work`."""
        return await self._read(_work, sql.RECENT_WORK, events, namespace, since)

    async def usage(self, namespace: str, since: Micros, after: int, until: int) -> list[UsageRow]:
        """See `Store.usage`."""
        async with self._readers.one() as r:
            rows = await r.fetch(sql.USAGE, after, until, namespace, since)
        return [_usage(*row) for row in rows if _told(row[3]).usage not in {None, _NULL}]

    async def approvals(
        self, filters: Filters, before: str | None, limit: int
    ) -> list[ApprovalRow]:
        """See `Store.approvals`."""
        where, given = shared.where(shared.APPROVAL_CONDITIONS, {**filters, "before": before})
        statement = f"{shared.APPROVALS}{where} order by approval_id desc limit ?"
        return await self._read(ApprovalRow, statement, *given, limit)

    async def schedules(self) -> list[ScheduleRow]:
        """See `Store.schedules`."""
        return await self._read(ScheduleRow, shared.SCHEDULES)

    async def queues(self) -> dict[tuple[str, str], int]:
        """See `Store.queues`."""
        rows = await self._read(QueueDepth, shared.QUEUES)
        return {(row.namespace, row.queue): row.tasks for row in rows}

    async def workload(self, namespace: str) -> Workload:
        """See `Store.workload`."""
        async with self._readers.one() as r:
            counts: dict[str, dict[str, int]] = {
                name: dict(map(tuple, await r.fetch(text, namespace)))
                for name, text in sql.WORKLOAD.items()
            }
            queues = list(counts["queued"])
            marks = min((self._marks.of((namespace, queue)) for queue in queues), default=LOWEST)
            first: dict[str, Micros] = dict(
                map(tuple, await r.fetch(sql.FIRST, namespace, queues, marks))
            )
        return Workload(**counts, first=first)

    async def ahead(self, row: ReadyRow) -> int:
        """See `Store.ahead`."""
        return await self._value(sql.AHEAD, *row[:4], self._marks.of(row[:2]))

    async def gates(self) -> GateRows:
        """See `Store.gates`."""
        async with self._readers.one() as r:
            return await read_gates(r)

    async def in_flight(self, agents: Collection[str]) -> list[LeaseRow]:
        """See `Store.in_flight`."""
        return await self._read(LeaseRow, sql.LEASES_OF_AGENTS, list(agents))

    async def due(self, now: Micros, limit: int) -> DueWork:
        """See `Store.due`.

        What was found due before and is gone has left dead rows behind, at the very place where
        looking begins; so it begins where everything earlier was dealt with the last time.
        """
        full = now - self._due_full >= FULL_SCAN or now < self._due_full
        begin = LOWEST if full else self._due_from
        async with self._readers.one() as r:
            found = DueWork(
                leases=[LeaseRow(*x) for x in await r.fetch(sql.DUE_LEASES, now, begin, limit)],
                delayed=[(x[0], x[1]) for x in await r.fetch(sql.DUE_DELAYED, now, begin, limit)],
                expired=[ReadyRow(*x) for x in await r.fetch(sql.DUE_READY, now, begin, limit)],
                timers=[TimerRow(*x) for x in await r.fetch(sql.DUE_TIMERS, now, begin, limit)],
                sessions=[x[0] for x in await r.fetch(sql.DUE_SESSIONS, now, begin, limit)],
                next_at=await r.fetchval(sql.NEXT_DUE, begin),
            )
        self._due_full = now if full else self._due_full
        self._due_from = min(now, found.next_at if found.next_at is not None else now) - MARGIN
        return found

    async def templates(self) -> list[TemplateRow]:
        """See `Store.templates`."""
        return await self._read(TemplateRow, shared.TEMPLATES)

    async def agents(self) -> list[AgentRow]:
        """See `Store.agents`."""
        return await self._read(AgentRow, shared.AGENTS)

    async def keys(self) -> list[StoredKey]:
        """See `Store.keys`."""
        return await self._read(StoredKey, shared.KEYS)

    async def audit(self, filters: Filters, before: int | None, limit: int) -> list[AuditRecord]:
        """See `Store.audit`."""
        where, given = shared.where(sql.AUDIT_CONDITIONS, {**filters, "before": before})
        statement = f"{audit_rows.AUDIT}{where} order by position desc limit ?"
        return await self._read(AuditRecord, statement, *given, limit)

    async def audit_ends(self) -> Ends:
        """See `Store.audit_ends`."""
        async with self._readers.one() as r:
            heads = as_heads(map(tuple, await r.fetch(audit_rows.HEADS)))
            vouching = [AuditRecord(*row) for row in await r.fetch(audit_rows.VOUCHING)]
        return open_ends(heads, (said for one in vouching for said in vouched_by(one)))

    async def audit_hash(self, writer: str, seq: int) -> str | None:
        """See `Store.audit_hash`."""
        held: bytes | None = await self._value(audit_rows.HASH, writer, seq)
        return None if held is None else held.hex()

    async def outbox(self) -> list[OutboxRow]:
        """See `Store.outbox`."""
        return await self._read(OutboxRow, shared.OUTBOX)

    async def callback(self, session_id: str) -> CallbackRow | None:
        """See `Store.callback`."""
        return _first(await self._read(CallbackRow, shared.CALLBACK, session_id))

    async def pending_callbacks(self) -> list[CallbackRow]:
        """See `Store.pending_callbacks`."""
        return await self._read(CallbackRow, shared.PENDING_CALLBACKS)

    async def request(self, name: RequestName) -> RequestRow | None:
        """See `Store.request`."""
        return _first(await self._read(RequestRow, shared.REQUEST, *name))

    async def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        async with self._readers.one() as r:
            return {name: await r.fetchval(text) for name, text in sql.COUNTS.items()}

    async def _read(self, row: Callable[..., T], statement: str, *given: Any) -> list[T]:
        async with self._readers.one() as r:
            rows = await r.fetch(sql.numbered(statement), *given)
        return [row(*one) for one in rows]

    async def _value(self, statement: str, *given: Any) -> Any:
        async with self._readers.one() as r:
            return await r.fetchval(sql.numbered(statement), *given)


async def read_gates(r: Connection) -> GateRows:
    """All that limits are made of."""
    return GateRows(
        [LeaseRow(*row) for row in await r.fetch(shared.GATED_LEASES)],
        [GatedRow(*row) for row in await r.fetch(shared.GATED)],
        [RateRow(*row) for row in await r.fetch(shared.RATES)],
        [AdmittedRow(*row) for row in await r.fetch(shared.ADMITTED)],
    )


_NULL = msgspec.Raw(b"null")


def _first(rows: Sequence[T]) -> T | None:
    return rows[0] if rows else None


def _picture(*columns: Any) -> TaskPicture:
    width = len(TaskRow._fields)
    lease = LeaseRow(*columns[width:]) if columns[width] is not None else None
    return TaskPicture(TaskRow(*columns[:width]), lease)


def _work(
    task_id: str, type_name: str, at: Micros, data: Json, workflow: str, step: str, target: str
) -> WorkRow:
    return WorkRow(task_id, type_name, at, _told(data).due, workflow, step, target)


def _usage(
    position: int,
    type_name: str,
    at: Micros,
    data: Json,
    workflow: str,
    target: str,
    claimed: Json | None,
) -> UsageRow:
    agent = None if claimed is None else _told(claimed).agent_id
    return UsageRow(position, type_name, at, data, workflow, target, agent)
