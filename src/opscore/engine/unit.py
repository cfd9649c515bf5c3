"""One batch of the write path: the state its commands see, and the rows they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opscore.core import events as ev
from opscore.core.commands import SessionCommand, Start
from opscore.core.errors import (
    Conflict,
    Forbidden,
    Impossible,
    Invalid,
    NotFound,
    Refusal,
    StaleAttempt,
)
from opscore.core.expressions import Expressions
from opscore.core.retry import FALLBACK_REQUESTED
from opscore.core.session import Decided, Refused, Surroundings, decide
from opscore.core.state import SessionState
from opscore.core.types import SESSION_ENDED, Micros, SessionStatus, TaskStatus
from opscore.engine.cache import SessionCache, TemplateCache
from opscore.engine.gates import Gates
from opscore.engine.journal import fold
from opscore.engine.projection import Projection
from opscore.store.rows import Changes, Locked, OutboxRow


@dataclass(frozen=True, slots=True)
class CancelNotice:
    """An attempt that its agent should stop working on."""

    instance_id: str
    task_id: str
    attempt: int
    reason: str
    grace: Micros


@dataclass(frozen=True, slots=True)
class Means:
    """What every batch works with."""

    sessions: SessionCache
    templates: TemplateCache
    expressions: Expressions
    payload_limit: int
    lease: Micros
    gates: Gates = field(default_factory=Gates)
    template_env: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])


class Unit:
    """One batch. `changes` become rows, the rest is told to the engine after the commit."""

    def __init__(self, means: Means, now: Micros, locked: Locked) -> None:
        self.means = means
        self.now = now
        self.locked = locked
        self.changes = Changes()
        self.touched: dict[str, SessionState] = {}
        self.cancels: list[CancelNotice] = []
        self.freed: dict[str, tuple[str, int]] = {}
        """Attempts that this batch ended: by task, whose and which."""
        self.after: list[Callable[[], object]] = []
        self.undone: list[Callable[[], object]] = [means.gates.spoil]
        """Called when the batch is not committed."""
        self.seated: list[tuple[str, str]] = []
        """Instances that take a seat with this batch, each after its agent: it is theirs only."""
        self.leaving: list[str] = []
        """Sessions that were told to make room for others."""
        self.recorded: list[tuple[SessionState, Sequence[ev.SessionEvent]]] = []
        """What was decided, in order."""
        self.commands = 0
        """How many commands the batch carries; one may stand for many."""
        self.kept: dict[object, Any] = {}
        """What other rooms keep for the length of this batch, by whose it is."""
        self._projection = Projection(self.changes, means.gates, now, means.lease)
        if locked.gates is not None:
            means.gates.load(locked.gates)
        self._around = Surroundings(now, means.expressions, means.payload_limit)

    def session(self, session_id: str) -> SessionState | None:
        """A session as this batch has it so far; None when there is none of that id."""
        if self.means.sessions.buried(session_id):
            return None
        state = self.touched.get(session_id) or self.means.sessions.get(session_id)
        if state is None:
            stored = self.locked.journals.get(session_id)
            if stored is None:
                return None
            begun = self.means.sessions.take_behind(session_id) or SessionState(session_id)
            state = fold(begun, stored)
            self.means.sessions.put(state)
        return state

    def start(self, session_id: str, command: Start) -> SessionState:
        """Begin a session that no journal knows yet."""
        event = command.event
        state = SessionState(
            session_id,
            namespace=event.namespace,
            workflow=event.workflow,
            version=event.template_version,
        )
        self.decide(state, command)
        return state

    def decide(self, state: SessionState, command: SessionCommand) -> Refused | None:
        """Let the core decide, and write down what follows; a refusal changes nothing."""
        self.touched[state.session_id] = state
        template = self.means.templates.parsed(state.namespace, state.workflow, state.version)
        was = state.status
        decision = decide(template, state, command, self._around)
        if isinstance(decision, Refused):
            return decision
        if decision.events:
            self._record(state, decision, was)
        if decision.more:
            self._go_on(state)
        return None

    def _record(self, state: SessionState, decision: Decided, was: SessionStatus) -> None:
        self._projection.add(state, decision.events, was)
        self.recorded.append((state, decision.events))
        for event in decision.events:
            note = _NOTES.get(type(event))
            if note is not None:
                note(self, state, event)

    # What agents and slots must hear of after the commit:

    def note_over(
        self,
        state: SessionState,
        event: ev.TaskCompleted | ev.TaskRetried | ev.TaskReleased | ev.TaskFailed,
    ) -> None:
        """An attempt is over and its slot is free."""
        if event.attempt:
            self._attempt_over(state, event.task_id, event.attempt)

    def note_failed(self, state: SessionState, event: ev.TaskFailed) -> None:
        """As `note_over`; an attempt that a person ended is still being worked on."""
        self.note_over(state, event)
        if event.attempt and event.error_class == FALLBACK_REQUESTED:
            self.tell(state, event.task_id, event.message, 0)

    def note_cancelled(self, state: SessionState, event: ev.TaskCancelled) -> None:
        """A running attempt is fenced."""
        if event.attempt:
            self._attempt_over(state, event.task_id, event.attempt)
            self.tell(state, event.task_id, event.reason, 0)

    def note_stopping(self, state: SessionState, event: ev.SessionStopping) -> None:
        """Running attempts should stop within their grace."""
        for task in state.tasks.values():
            if task.status is TaskStatus.RUNNING:
                self.tell(state, task.task_id, event.message, event.grace_until - self.now)

    def _attempt_over(self, state: SessionState, task_id: str, attempt: int) -> None:
        instance = state.tasks[task_id].instance_id
        if instance is not None:
            self.freed[task_id] = (instance, attempt)

    def tell(self, state: SessionState, task_id: str, reason: str, grace: Micros) -> None:
        task = state.tasks[task_id]
        assert task.instance_id is not None
        self.cancels.append(CancelNotice(task.instance_id, task_id, task.attempt, reason, grace))

    def _go_on(self, state: SessionState) -> None:
        """Ask for another `Advance`, durably: a crash in between loses nothing."""
        key = f"{state.session_id}/advance"
        self.changes.outbox_done.discard(key)
        self.changes.outbox[key] = OutboxRow(
            key, state.namespace, "advance", state.session_id, b"null"
        )

    def seal(self) -> Changes:
        """The rows of the batch."""
        for state in self.touched.values():
            if state.seq:
                self.means.sessions.put(state)
        return self.changes

    def ended(self) -> list[str]:
        """Sessions that this batch ended; they need no memory."""
        return [s for s, state in self.touched.items() if state.status in SESSION_ENDED]

    def let_go(self) -> None:
        """The batch is over: drop what refers back to it, so that it is freed at once.

        Left to the cycle collector, the rows of every batch were a fifth of the loop's time.
        """
        self.after.clear()
        self.undone.clear()
        self.kept.clear()
        self.recorded.clear()


_NOTES: Mapping[type, Callable[[Unit, SessionState, Any], None]] = {
    ev.TaskCompleted: Unit.note_over,
    ev.TaskRetried: Unit.note_over,
    ev.TaskReleased: Unit.note_over,
    ev.TaskFailed: Unit.note_failed,
    ev.TaskCancelled: Unit.note_cancelled,
    ev.SessionStopping: Unit.note_stopping,
}

_REFUSALS: dict[str, type[Refusal]] = {
    "not_found": NotFound,
    "unknown_task": NotFound,
    "stale_attempt": StaleAttempt,
    "conflict": Conflict,
    "content_changed": Conflict,
    "too_many_signals": Conflict,
    "unknown_signal": Impossible,
    "forbidden": Forbidden,
}


def raise_refused(refused: Refused | None) -> None:
    """Turn the core's refusal into the error that people meet."""
    if refused is not None:
        raise _REFUSALS.get(refused.code, Invalid)(refused.detail, code=refused.code)
