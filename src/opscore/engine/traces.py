"""Traces of sessions: reads the journals that `opscore.debugging` draws them from."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from opscore.core.child_events import ChildCreated
from opscore.core.durations import rfc3339
from opscore.core.errors import Unavailable
from opscore.core.events import SessionEvent, SessionFailed
from opscore.core.received import ReceivedSpan
from opscore.core.types import Micros, SessionStatus, on_error_id_of
from opscore.debugging.slowest import Passed, Slowest, slowest
from opscore.debugging.trace import Trace, trace_of
from opscore.debugging.usage import Spent, spent_by
from opscore.engine.journal import decode
from opscore.engine.logs import Logs
from opscore.engine.registry import Registry
from opscore.engine.views import Views
from opscore.store.rows import StoredEvent
from opscore.store.store import Store
from opscore.store.work_rows import UsageRow

EVENTS_READ = 20_000
"""Of a session and its children; a trace of more shows what these tell, and says so.

Of a whole store, so many of the newest are looked at for the slowest.
"""
SPANS_READ = 5_000
"""Of those that agents sent, so many of one trace are shown."""
PAGE = 1_000
EVENTS_SEARCHED = 200_000
"""For what was spent: so many of the newest events of a store."""
GroupBy = Literal["agent", "capability", "day", "workflow"]


@dataclass(frozen=True, slots=True)
class SessionTrace:
    """A session's trace as it is `at` this time; `truncated`: later events were left out.

    `problem`: why what agents recorded themselves could not be read.
    """

    session_id: str
    workflow: str
    version: str
    status: SessionStatus
    at: Micros
    truncated: bool
    trace: Trace
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class UsageSums:
    """What each group spent; `truncated`: older events since then were not looked at."""

    groups: Mapping[str, Spent]
    truncated: bool


class Traces:
    """Draws traces from committed events; holds nothing and changes nothing."""

    def __init__(self, store: Store, views: Views, registry: Registry, logs: Logs) -> None:
        self._store = store
        self._logs = logs
        self._views = views
        self._registry = registry

    async def session(self, session_id: str, namespace: str) -> SessionTrace:
        """Raises NotFound."""
        row = await self._views.header(session_id, namespace)
        journals, truncated = await self._family(row.session_id)
        received, problem = await self._received(namespace, row.trace_id)
        now = self._store.now()
        end = row.finished_at or now
        # On a thread: a trace of thousands of spans takes longer than the loop should stand still.
        trace = await asyncio.to_thread(
            trace_of, row.session_id, journals, end, self._registry.name_of, received
        )
        status = SessionStatus(row.status)
        truncated = truncated or len(received) == SPANS_READ
        return SessionTrace(
            row.session_id, row.workflow, row.version, status, now, truncated, trace, problem
        )

    async def _received(
        self, namespace: str, trace_id: str
    ) -> tuple[list[ReceivedSpan], str | None]:
        """What agents recorded; what the journal tells is told without it, and why it misses."""
        try:
            return await self._logs.spans(namespace, trace_id, SPANS_READ), None
        except Unavailable as refusal:
            return [], refusal.detail

    async def slowest(self, namespace: str, since: Micros, limit: int) -> Slowest:
        """The slowest steps and capabilities since then, by the newest `EVENTS_READ` events."""
        rows = await self._store.recent_work(namespace, since, EVENTS_READ)
        passed = (Passed(*row[:3], row.due is not None, *row[4:]) for row in rows)
        found = slowest(since, passed, limit)
        return replace(found, truncated=await self._is_cut(namespace, since, EVENTS_READ))

    async def usage(self, namespace: str, since: Micros, by: GroupBy) -> UsageSums:
        """What was spent since then, by agent, capability, day (in UTC) or workflow."""
        last, found = await self._store.last_position(), dict[str, Spent]()
        for after in range(max(0, last - EVENTS_SEARCHED), last, PAGE):
            until = min(after + PAGE, last)
            for row in await self._store.usage(namespace, since, after, until):
                spent = spent_by(row.type, row.data)
                if spent is not None:
                    found.setdefault(self._group(row, by), Spent()).join(spent)
        return UsageSums(found, await self._is_cut(namespace, since, EVENTS_SEARCHED))

    async def _is_cut(self, namespace: str, since: Micros, events: int) -> bool:
        """Whether something happened since then before the newest so many events of the store.

        Told by the last thing that happened in the namespace before these.
        """
        first = await self._store.last_position() - events
        for until in range(first, max(0, first - EVENTS_READ), -PAGE):
            older = await self._store.happened(namespace, max(0, until - PAGE), until)
            if older:
                return older[-1].at >= since
        return False

    def _group(self, row: UsageRow, by: GroupBy) -> str:
        match by:
            case "agent":
                agent_id = row.agent_id or ""
                return self._registry.name_of(agent_id) or agent_id
            case "capability":
                return row.target
            case "day":
                return rfc3339(row.at)[:10]
            case "workflow":
                return row.workflow

    async def _family(
        self, session_id: str
    ) -> tuple[dict[str, list[tuple[SessionEvent, Micros]]], bool]:
        """The journals of a session and all below it, the session's own first."""
        journals: dict[str, list[tuple[SessionEvent, Micros]]] = {}
        left, room = deque([session_id]), EVENTS_READ
        while left and room:
            one = left.popleft()
            journal = await self._journal(one, room)
            room -= len(journal)
            left += _below(one, journal)
            if journal:
                journals[one] = journal
        return journals, room == 0

    async def _journal(self, session_id: str, most: int) -> list[tuple[SessionEvent, Micros]]:
        found: list[tuple[SessionEvent, Micros]] = []
        while len(found) < most:
            limit = min(PAGE, most - len(found))
            page = await self._store.journal(session_id, len(found), limit)
            found += _decoded(page)
            if len(page) < limit:
                break
        return found


def _below(session_id: str, journal: Sequence[tuple[SessionEvent, Micros]]) -> Iterator[str]:
    """Sessions that a session had started: its children, and its `onError` workflow."""
    for seq, (event, _) in enumerate(journal, 1):
        if isinstance(event, ChildCreated):
            yield event.child_id
        elif isinstance(event, SessionFailed) and event.on_error_input is not None:
            yield on_error_id_of(session_id, seq)


def _decoded(page: Sequence[StoredEvent]) -> list[tuple[SessionEvent, Micros]]:
    return [(decode(row.type, row.version, row.data), row.at) for row in page]
