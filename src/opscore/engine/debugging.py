"""What happened, how long it took and why it does not go on: logs, traces, reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from opscore.core.errors import Conflict, Invalid
from opscore.core.limits import Shut
from opscore.core.logs import LEVELS, SERVER, LogRecord, LogSearch
from opscore.core.types import (
    DEFAULT_NAMESPACE,
    SECOND,
    SYSTEM,
    Actor,
    Micros,
    session_id_of,
)
from opscore.debugging.slowest import Slowest
from opscore.debugging.spans import Span
from opscore.engine.audit import ordered
from opscore.engine.explanations import Explanations, WhyRecord
from opscore.engine.logs import Forgotten, Logs
from opscore.engine.operation_log import operation_record, say
from opscore.engine.records import Paged, SessionRecord, TaskRecord
from opscore.engine.traces import GroupBy, SessionTrace, Traces, UsageSums
from opscore.engine.writer import Nothing, Writer
from opscore.store.store import Store

OPEN_TRACES = 10_000
HOUR = 3600 * SECOND


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
        self,
        store: Store,
        writer: Writer,
        sessions: Sessions,
        explanations: Explanations,
        traces: Traces,
        logs: Logs,
    ) -> None:
        self._store = store
        self._writer = writer
        self._traces = traces
        self._logs = logs
        self._sessions = sessions
        self._explanations = explanations
        self._open: dict[tuple[str, str], tuple[str, Micros]] = {}

    async def log_operation(
        self,
        operation: str,
        context: Mapping[str, Any] | None = None,
        *,
        level: str = "info",
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        """Write one structured record: to the server's own log, and to the log store.

        `context` holds plain values; ids under their usual names (`agent_id`, `session_id`,
        `task_id`, `attempt`, `trace_id`, `span_id`), `error_type`, `error_code`, `actor` and
        `message` become fields of the record. Raises Invalid for a level that is none.
        """
        if level not in LEVELS:
            raise Invalid(f"{level!r} is not a level: {', '.join(LEVELS)}")
        told = {"namespace": namespace, **(context or {})}
        record = operation_record(self._store.now(), operation, level, told)
        self._logs.put(record)
        say(record)

    def keep(self, operation: str, level: str, told: Mapping[str, Any]) -> None:
        """Put a record of the server itself into the log store; from every thread."""
        self._logs.put(operation_record(self._store.now(), operation, level, told))

    async def search_logs(
        self,
        search: LogSearch,
        *,
        cursor: str | None = None,
        limit: int = 50,
        newest_first: bool = True,
    ) -> Paged[LogRecord]:
        """A page of log records. Raises Invalid for a cursor that is none, Unavailable."""
        return await self._logs.search(
            search, cursor=_place(cursor), limit=limit, newest_first=newest_first
        )

    async def forget_logs(
        self,
        *,
        seconds: float | None = None,
        most_bytes: int | None = None,
        dry_run: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
        everywhere: bool = True,
        actor: Actor = SYSTEM,
    ) -> Forgotten:
        """Delete old log records, `everywhere` or only those of `namespace`: see `Logs.forget`.

        Raises Unavailable.
        """
        only = None if everywhere else namespace
        done = await self._logs.forget(
            seconds=seconds, most_bytes=most_bytes, namespace=only, dry_run=dry_run
        )
        if not dry_run and (done.outdated or done.oversized):
            counts = {"outdated": done.outdated, "oversized": done.oversized}
            whose = SERVER if everywhere else namespace
            note = ordered(actor, "log.deleted", namespace, whose, **counts)
            await self._writer.submit(Nothing(), note)
        return done

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
    ) -> UsageSums:
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


def _place(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise Invalid("The cursor is not one that a page of log records gave.")
    return int(cursor)
