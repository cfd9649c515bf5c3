"""Reading beside the write path: the verbs of the SQLite store that change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import apsw

from opscore.core.audit import AuditRecord, Ends
from opscore.core.types import Micros
from opscore.store import audit_rows
from opscore.store import statements as sql
from opscore.store.gate_rows import AdmittedRow, GatedRow, GateRows, RateRow
from opscore.store.happened import Happened
from opscore.store.key_rows import StoredKey
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
from opscore.store.work_rows import RECENT_WORK, USAGE, UsageRow, WorkRow
from opscore.store.workload import Workload, read_workload

T = TypeVar("T")


class Reads:
    """Everything runs on the reading thread, with the reading connection."""

    _reader: apsw.Connection | None
    _read_thread: ThreadPoolExecutor
    _while_reading: AbstractAsyncContextManager[Any]

    async def journal(self, session_id: str, after: int, limit: int) -> list[StoredEvent]:
        """See `Store.journal`."""
        return await self._read(StoredEvent, sql.JOURNAL, (session_id, after, limit))

    async def agent_journal(self, agent_id: str, after: int, limit: int) -> list[StoredEvent]:
        """See `Store.agent_journal`."""
        return await self._read(StoredEvent, sql.AGENT_JOURNAL, (agent_id, after, limit))

    async def agent_owner(self, agent_id: str) -> str | None:
        """See `Store.agent_owner`."""
        rows = await self._read(str, sql.AGENT_OWNER, (agent_id,))
        return rows[0] if rows else None

    async def happened(self, namespace: str, after: int, until: int) -> list[Happened]:
        """See `Store.happened`."""
        return await self._read(Happened, sql.HAPPENED, (after, until, namespace))

    async def last_position(self) -> int:
        """See `Store.last_position`."""
        return (await self._read(int, sql.LAST_POSITION, ()))[0]

    async def session(self, session_id: str) -> SessionRow | None:
        """See `Store.session`."""
        rows = await self._read(SessionRow, sql.SESSION, (session_id,))
        return rows[0] if rows else None

    async def sessions(self, filters: Filters, before: str | None, limit: int) -> list[SessionRow]:
        """See `Store.sessions`."""
        where, given = sql.where(sql.SESSION_CONDITIONS, {**filters, "before": before})
        statement = f"{sql.SESSIONS}{where} order by session_id desc limit ?"
        return await self._read(SessionRow, statement, (*given, limit))

    async def task(self, task_id: str) -> TaskPicture | None:
        """See `Store.task`."""
        rows = await self._read(_picture, sql.TASK, (task_id,))
        return rows[0] if rows else None

    async def tasks(self, filters: Filters, before: str | None, limit: int) -> list[TaskPicture]:
        """See `Store.tasks`."""
        where, given = sql.where(sql.TASK_CONDITIONS, {**filters, "before": before})
        statement = f"{sql.TASKS}{where} order by tasks.task_id desc limit ?"
        return await self._read(_picture, statement, (*given, limit))

    async def task_events(self, session_id: str, task_id: str) -> list[StoredEvent]:
        """See `Store.task_events`."""
        return await self._read(StoredEvent, sql.TASK_EVENTS, (session_id, task_id))

    async def recent_work(self, namespace: str, since: Micros, events: int) -> list[WorkRow]:
        """See `Store.recent_work`."""
        return await self._read(WorkRow, RECENT_WORK, (events, namespace, since))

    async def usage(self, namespace: str, since: Micros, after: int, until: int) -> list[UsageRow]:
        """See `Store.usage`."""
        return await self._read(UsageRow, USAGE, (after, until, namespace, since))

    async def approvals(
        self, filters: Filters, before: str | None, limit: int
    ) -> list[ApprovalRow]:
        """See `Store.approvals`."""
        where, given = sql.where(sql.APPROVAL_CONDITIONS, {**filters, "before": before})
        statement = f"{sql.APPROVALS}{where} order by approval_id desc limit ?"
        return await self._read(ApprovalRow, statement, (*given, limit))

    async def schedules(self) -> list[ScheduleRow]:
        """See `Store.schedules`."""
        return await self._read(ScheduleRow, sql.SCHEDULES, ())

    async def queues(self) -> dict[tuple[str, str], int]:
        """See `Store.queues`."""
        rows = await self._read(QueueDepth, sql.QUEUES, ())
        return {(row.namespace, row.queue): row.tasks for row in rows}

    async def workload(self, namespace: str) -> Workload:
        """See `Store.workload`."""
        return await self._on_reader(lambda: read_workload(self._r, namespace))

    async def ahead(self, row: ReadyRow) -> int:
        """See `Store.ahead`."""
        count = await self._on_reader(lambda: self._r.execute(sql.AHEAD, row[:4]).get)
        assert isinstance(count, int)
        return count

    async def gates(self) -> GateRows:
        """See `Store.gates`."""
        return await self._on_reader(self._gates)

    def _gates(self) -> GateRows:
        return GateRows(
            self._rows(LeaseRow, sql.GATED_LEASES, ()),
            self._rows(GatedRow, sql.GATED, ()),
            self._rows(RateRow, sql.RATES, ()),
            self._rows(AdmittedRow, sql.ADMITTED, ()),
        )

    async def in_flight(self, agents: Collection[str]) -> list[LeaseRow]:
        """See `Store.in_flight`."""
        return await self._on_reader(lambda: list(self._in(LeaseRow, sql.LEASES_OF_AGENTS, agents)))

    async def due(self, now: Micros, limit: int) -> DueWork:
        """See `Store.due`."""
        return await self._on_reader(lambda: self._due(now, limit))

    def _due(self, now: Micros, limit: int) -> DueWork:
        def rows(statement: str) -> list[Any]:
            return self._r.execute(statement, (now, limit)).fetchall()

        return DueWork(
            leases=[LeaseRow(*r) for r in rows(sql.DUE_LEASES)],
            delayed=rows(sql.DUE_DELAYED),
            expired=[ReadyRow(*r) for r in rows(sql.DUE_READY)],
            timers=[TimerRow(*r) for r in rows(sql.DUE_TIMERS)],
            sessions=[r[0] for r in rows(sql.DUE_SESSIONS)],
            next_at=self._r.execute(sql.NEXT_DUE).get,
        )

    async def templates(self) -> list[TemplateRow]:
        """See `Store.templates`."""
        return await self._read(TemplateRow, sql.TEMPLATES, ())

    async def agents(self) -> list[AgentRow]:
        """See `Store.agents`."""
        return await self._read(AgentRow, sql.AGENTS, ())

    async def keys(self) -> list[StoredKey]:
        """See `Store.keys`."""
        return await self._read(StoredKey, sql.KEYS, ())

    async def audit(self, filters: Filters, before: int | None, limit: int) -> list[AuditRecord]:
        """See `Store.audit`."""
        where, given = sql.where(audit_rows.AUDIT_CONDITIONS, {**filters, "before": before})
        statement = f"{audit_rows.AUDIT}{where} order by position desc limit ?"
        return await self._read(AuditRecord, statement, (*given, limit))

    async def audit_ends(self) -> Ends:
        """See `Store.audit_ends`."""
        return await self._on_reader(lambda: audit_rows.ends(self._r))

    async def audit_hash(self, writer: str, seq: int) -> str | None:
        """See `Store.audit_hash`."""
        return await self._on_reader(lambda: audit_rows.hash_at(self._r, writer, seq))

    async def outbox(self) -> list[OutboxRow]:
        """See `Store.outbox`."""
        return await self._read(OutboxRow, sql.OUTBOX, ())

    async def callback(self, session_id: str) -> CallbackRow | None:
        """See `Store.callback`."""
        rows = await self._read(CallbackRow, sql.CALLBACK, (session_id,))
        return rows[0] if rows else None

    async def pending_callbacks(self) -> list[CallbackRow]:
        """See `Store.pending_callbacks`."""
        return await self._read(CallbackRow, sql.PENDING_CALLBACKS, ())

    async def request(self, name: RequestName) -> RequestRow | None:
        """See `Store.request`."""
        rows = await self._read(RequestRow, sql.REQUEST, name)
        return rows[0] if rows else None

    async def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        return await self._on_reader(self._counts)

    def _counts(self) -> dict[str, int]:
        counts = {
            table: self._r.execute(f"select count(*) from {table}").get
            for table in sql.COUNTED_TABLES
        }
        counts["completed"] = self._r.execute(sql.COUNT_COMPLETED).get
        return counts

    # -- the thread -----------------------------------------------------------------------

    @property
    def _r(self) -> apsw.Connection:
        assert self._reader is not None, "the store is not open"
        return self._reader

    async def _on_reader(self, work: Callable[[], T]) -> T:
        async with self._while_reading:
            return await asyncio.get_running_loop().run_in_executor(self._read_thread, work)

    async def _read(self, row: Callable[..., T], statement: str, given: Sequence[Any]) -> list[T]:
        return await self._on_reader(
            lambda: [row(*r) for r in self._r.execute(statement, given).fetchall()]
        )

    def _rows(self, row: Callable[..., T], statement: str, given: Sequence[Any]) -> list[T]:
        return [row(*r) for r in self._r.execute(statement, given).fetchall()]

    def _in(
        self, row: Callable[..., T], head: str, keys: Collection[str], tail: str = ""
    ) -> list[T]:
        found: list[T] = []
        for chunk in sql.chunks(list(keys), sql.most_rows(1)):
            found += self._rows(row, sql.keys(head, len(chunk), tail), chunk)
        return found


def _picture(*columns: Any) -> TaskPicture:
    width = len(TaskRow._fields)
    lease = LeaseRow(*columns[width:]) if columns[width] is not None else None
    return TaskPicture(TaskRow(*columns[:width]), lease)
