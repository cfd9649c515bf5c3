"""What happened, how long it took and why it does not go on: logs, traces, reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from opscore.core.errors import Conflict
from opscore.core.limits import Shut
from opscore.core.types import DEFAULT_NAMESPACE, SECOND, Micros, session_id_of
from opscore.debugging.slowest import Slowest
from opscore.debugging.spans import Span
from opscore.debugging.usage import Spent
from opscore.engine.explanations import Explanations, WhyRecord
from opscore.engine.records import SessionRecord, TaskRecord
from opscore.engine.traces import GroupBy, SessionTrace, Traces
from opscore.store.store import Store

OPEN_TRACES = 10_000
HOUR = 3600 * SECOND

log = structlog.get_logger("opscore.operations")


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """What a task did while it was traced. `spans`: its queues, delays and attempts, in order."""

    trace_id: str
    task_id: str
    started_at: Micros
    ended_at: Micros
    spans: tuple[Span, ...]


class Sessions(Protocol):
    """What is asked of orchestration."""

    async def get_task(self, task_id: str, *, namespace: str = ...) -> TaskRecord:
        """A task with its attempts."""
        ...

    async def get_session(self, session_id: str, *, namespace: str = ...) -> SessionRecord:
        """A session in full."""
        ...


class Debugging:
    """The verbs of the third subsystem."""

    def __init__(
        self, store: Store, sessions: Sessions, explanations: Explanations, traces: Traces
    ) -> None:
        self._store = store
        self._traces = traces
        self._sessions = sessions
        self._explanations = explanations
        self._open: dict[tuple[str, str], tuple[str, Micros]] = {}

    async def log_operation(
        self, operation: str, context: Mapping[str, Any] | None = None, *, level: str = "info"
    ) -> None:
        """Write one structured record.

        `context` holds plain values; ids under their usual names (`agent_id`, `session_id`,
        `task_id`, `attempt`, `trace_id`).
        """
        log.log(_LEVELS.get(level, _LEVELS["info"]), operation, **(context or {}))

    async def why(self, any_id: str, *, namespace: str = DEFAULT_NAMESPACE) -> WhyRecord:
        """What a session, or a task, waits for, since when, and who holds it up.

        `any_id` is a session's id or a task's. Raises NotFound.
        """
        if session_id_of(any_id) is not None:
            return await self.why_task(any_id, namespace=namespace)
        return await self.why_session(any_id, namespace=namespace)

    async def why_session(
        self, session_id: str, *, namespace: str = DEFAULT_NAMESPACE
    ) -> WhyRecord:
        """`why` of a session only. Raises NotFound."""
        return await self._explanations.session(session_id, namespace)

    async def why_task(self, task_id: str, *, namespace: str = DEFAULT_NAMESPACE) -> WhyRecord:
        """`why` of a task only. Raises NotFound."""
        return await self._explanations.task(task_id, namespace)

    async def limits(self, *, namespace: str = DEFAULT_NAMESPACE) -> list[Shut]:
        """Every concurrency and rate key in use: its bound, who holds it, how many wait."""
        return self._explanations.limits(namespace)

    async def trace(self, session_id: str, *, namespace: str = DEFAULT_NAMESPACE) -> SessionTrace:
        """Where a session's time went: its spans and its children's. Raises NotFound."""
        return await self._traces.session(session_id, namespace)

    async def slowest(
        self, *, since: Micros | None = None, limit: int = 10, namespace: str = DEFAULT_NAMESPACE
    ) -> Slowest:
        """The slowest steps and capabilities, as a rule of the last hour; see `Traces.slowest`."""
        since = self._store.now() - HOUR if since is None else since
        return await self._traces.slowest(namespace, since, limit)

    async def usage(
        self, by: GroupBy, *, since: Micros, namespace: str = DEFAULT_NAMESPACE
    ) -> dict[str, Spent]:
        """What attempts told they spent since then, by group; see `Traces.usage`."""
        return await self._traces.usage(namespace, since, by)

    async def start_trace(self, task_id: str, *, namespace: str = DEFAULT_NAMESPACE) -> str:
        """Begin to trace a task; answers with its W3C trace id. Raises NotFound."""
        task = await self._sessions.get_task(task_id, namespace=namespace)
        session = await self._sessions.get_session(task.session_id, namespace=namespace)
        if len(self._open) >= OPEN_TRACES:
            raise Conflict(f"{OPEN_TRACES} traces are open; end some first")
        self._open[namespace, task_id] = (session.trace_id, self._store.now())
        return session.trace_id

    async def end_trace(self, task_id: str, *, namespace: str = DEFAULT_NAMESPACE) -> TraceRecord:
        """End a trace: what the task did since it began. Raises Conflict when none was begun."""
        opened = self._open.pop((namespace, task_id), None)
        if opened is None:
            raise Conflict(f"no trace of task {task_id} was started")
        trace_id, started_at = opened
        task = await self._sessions.get_task(task_id, namespace=namespace)
        ended_at = self._store.now()
        whole = await self._traces.session(task.session_id, namespace)
        spans = tuple(
            span
            for span in whole.trace.spans
            if span.attributes.get("opscore.task.id") == task_id
            and (span.ended_at is None or span.ended_at >= started_at)
        )
        return TraceRecord(trace_id, task_id, started_at, ended_at, spans)


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
