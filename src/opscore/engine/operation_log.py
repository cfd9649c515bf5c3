"""The critical operations of every commit, as log records: what failed, what people ordered.

Tasks that go well leave none: the journal has them, and a record each would cost what a step costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from opscore.core.logs import LEVELS, SERVER, LogRecord
from opscore.core.state import SessionState
from opscore.core.types import SECOND, Micros
from opscore.engine.registry import Registry
from opscore.engine.unit import Unit
from opscore.store.rows import AgentEventRow, EventRow

log = structlog.get_logger("opscore.operations")

SESSION_EVENTS: Mapping[str, str] = {
    "session.failed": "error",
    "session.cancelled": "warning",
    "session.stopping": "warning",
    "session.paused": "info",
    "session.resumed": "info",
    "session.retried": "info",
    "task.retried": "warning",
    "task.released": "info",
    "task.failed": "error",
    "task.cancelled": "info",
    "fallback.valued": "warning",
    "step.compensating": "warning",
    "step.compensation_failed": "error",
    "approval.decided": "info",
}
"""Which events of sessions are recorded, and at which level."""

AGENT_EVENTS: Mapping[str, str] = {
    "agent.registered": "info",
    "agent.changed": "info",
    "agent.state_changed": "info",
    "agent.draining": "info",
    "agent.drained": "warning",
    "agent.activated": "info",
    "agent.deregistered": "warning",
    "instance.connected": "info",
    "instance.disconnected": "info",
}
_STATES: Mapping[str, str] = {"error": "error", "offline": "warning"}
"""A change of state is recorded when it is to one of these."""
_FIELDS = frozenset(
    {"task_id", "attempt", "error_class", "message", "actor", "reason", "namespace"}
)
_LONG = frozenset({"input", "output", "context", "usage", "details", "metadata", "schemas"})
_fields = msgspec.json.Decoder(dict[str, Any]).decode


SHOWN = 50
"""So many a second go on the server's own log; the store is offered all of them."""


@dataclass(slots=True)
class OperationLog:
    """Puts the records of a commit where `put` keeps them, and on the server's own log.

    Writing a line costs as much as a step. When everything fails at once, lines for all of it would
    take a fifth of the engine's time just when it is needed.
    """

    put: Callable[[LogRecord], object]
    registry: Registry
    _second: int = 0
    _told: int = 0

    def committed(self, unit: Unit) -> None:
        """Record what counts of a commit, once everything else has followed it."""
        changes = unit.changes
        if any(event.type in SESSION_EVENTS for event in changes.events) or changes.agent_events:
            unit.after.append(lambda: self._record(unit))

    def _record(self, unit: Unit) -> None:
        for event in unit.changes.agent_events:
            if event.type in AGENT_EVENTS:
                self._of_agent(event)
        for event in unit.changes.events:
            if level := SESSION_EVENTS.get(event.type):
                self._of_session(unit.touched[event.session_id], event, level)

    def _of_agent(self, event: AgentEventRow) -> None:
        told = _fields(event.data)
        level = AGENT_EVENTS[event.type]
        if event.type == "agent.state_changed":
            if told["state"] not in _STATES:
                return
            level = _STATES[told["state"]]
        agent = self.registry.by_id(event.agent_id)
        self._say(
            LogRecord(
                at=event.at,
                level=level,
                operation=event.type,
                namespace=event.namespace,
                message=told.get("reason") or _sentence(event.type),
                agent_id=event.agent_id,
                agent=None if agent is None else agent.agent_name,
                actor=told.get("actor"),
                context=_context(told),
            )
        )

    def _of_session(self, state: SessionState, event: EventRow, level: str) -> None:
        told = _fields(event.data)
        agent_id, step = self._of_attempt(state, told)
        agent = None if agent_id is None else self.registry.by_id(agent_id)
        self._say(
            LogRecord(
                at=event.at,
                level=level,
                operation=event.type,
                namespace=state.namespace,
                message=told.get("message") or told.get("reason") or _sentence(event.type),
                agent_id=agent_id,
                agent=None if agent is None else agent.agent_name,
                session_id=state.session_id,
                task_id=told.get("task_id"),
                attempt=told.get("attempt") or None,
                trace_id=state.trace_id or None,
                error_type=told.get("error_class"),
                actor=told.get("actor"),
                context={"workflow": state.workflow, **step, **_context(told)},
            )
        )

    def _of_attempt(
        self, state: SessionState, told: Mapping[str, Any]
    ) -> tuple[str | None, dict[str, str]]:
        """Whose attempt an event is about, and of which step it was."""
        task = state.tasks.get(told.get("task_id", ""))
        if task is None:
            return None, {}
        current = task.attempt > 0 and told.get("attempt") == task.attempt
        return task.agent_id if current else None, {"step": task.step}

    def _say(self, record: LogRecord) -> None:
        self.put(record)
        if structlog.is_configured() and self._may_show(record.at // SECOND):
            say(record)

    def _may_show(self, second: int) -> bool:
        if second != self._second:
            if self._told > SHOWN:
                hint = "the log store was offered them: opscore log"
                log.warning("operations_not_shown", count=self._told - SHOWN, hint=hint)
            self._second, self._told = second, 0
        self._told += 1
        return self._told <= SHOWN


def say(record: LogRecord) -> None:
    """Write a record on the server's own log, whose logger the log store does not listen to."""
    named = {
        "namespace": record.namespace,
        "agent_id": record.agent_id,
        "session_id": record.session_id,
        "task_id": record.task_id,
        "attempt": record.attempt,
        "trace_id": record.trace_id,
        "error_type": record.error_type,
        "actor": record.actor,
    }
    told = {name: value for name, value in named.items() if value is not None}
    fields = {**record.context, **told, "message": record.message}
    fields.pop("event", None)
    log.log(LEVELS[record.level], record.operation, **fields)


def _sentence(operation: str) -> str:
    return operation.replace(".", " ").replace("_", " ")


def _context(told: Mapping[str, Any]) -> dict[str, Any]:
    """What else an event says, but for documents, which are the journal's."""
    return {
        name: value
        for name, value in told.items()
        if name not in _FIELDS and name not in _LONG and value not in (None, "", [], {})
    }


def operation_record(at: Micros, operation: str, level: str, told: Mapping[str, Any]) -> LogRecord:
    """A record of what a caller did; ids come under their usual names in `told`."""
    given = dict(told)
    ids: dict[str, Any] = {}
    for name in _IDS:
        if (value := given.pop(name, None)) is not None:
            ids[name] = str(value)
    attempt = given.pop("attempt", None)
    return LogRecord(
        at=at,
        level=level,
        operation=operation,
        namespace=str(given.pop("namespace", None) or SERVER),
        message=str(given.pop("message", None) or operation),
        attempt=attempt if isinstance(attempt, int) else None,
        context=given,
        **ids,
    )


_IDS = (
    *("agent_id", "agent", "session_id", "task_id", "trace_id", "span_id"),
    *("error_type", "error_code", "actor"),
)
