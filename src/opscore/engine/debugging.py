"""What happened, how long it took and why it does not go on: logs, traces, reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from opscore.core.errors import Conflict
from opscore.core.limits import Shut
from opscore.core.types import DEFAULT_NAMESPACE, Micros, session_id_of
from opscore.engine.explanations import Explanations, WhyRecord
from opscore.engine.records import AttemptRecord, SessionRecord, TaskRecord
from opscore.store.store import Store

OPEN_TRACES = 10_000

log = structlog.get_logger("opscore.operations")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in a trace; `ended_at` None: it still runs."""

    name: str
    started_at: Micros
    ended_at: Micros | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """What a task did while it was traced. `spans` are its waits and attempts, in order."""

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

    def __init__(self, store: Store, sessions: Sessions, explanations: Explanations) -> None:
        self._store = store
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
        spans = tuple(
            span for span in spans_of(task) if span.ended_at is None or span.ended_at >= started_at
        )
        return TraceRecord(trace_id, task_id, started_at, ended_at, spans)


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def spans_of(task: TaskRecord) -> list[Span]:
    """Waiting and attempts in turn: where the time of a task went."""
    spans: list[Span] = []
    since = task.created_at
    for attempt in task.attempts:
        spans.append(Span("wait", since, attempt.started_at, None))
        spans.append(_attempt_span(attempt))
        since = attempt.ended_at or attempt.started_at
    if task.finished_at is None and (not task.attempts or task.attempts[-1].ended_at):
        spans.append(Span("wait", since, None, None))
    return spans


def _attempt_span(attempt: AttemptRecord) -> Span:
    name = f"attempt {attempt.attempt} by {attempt.agent_id}"
    return Span(name, attempt.started_at, attempt.ended_at, attempt.outcome)
