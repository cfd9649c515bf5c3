"""One batch of the write path: the state its commands see, and the rows they change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opscore.core import events as ev
from opscore.core.commands import SessionCommand
from opscore.core.errors import Conflict, Invalid, NotFound, Refusal, StaleAttempt
from opscore.core.expressions import Expressions
from opscore.core.session import Decided, Refused, Surroundings, decide
from opscore.core.state import SessionState
from opscore.core.types import SESSION_ENDED, Micros, TaskStatus
from opscore.engine.cache import SessionCache, TemplateCache
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


class Unit:
    """One batch. `changes` become rows, the rest is told to the engine after the commit."""

    def __init__(self, means: Means, now: Micros, locked: Locked) -> None:
        self.means = means
        self.now = now
        self.locked = locked
        self.changes = Changes()
        self.touched: dict[str, SessionState] = {}
        self.cancels: list[CancelNotice] = []
        self.began: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.freed: dict[str, str] = {}
        self.after: list[Callable[[], None]] = []
        self.kept: dict[object, Any] = {}
        """What other rooms keep for the length of this batch, by whose it is."""
        self._projection = Projection(self.changes, now, means.lease)
        self._around = Surroundings(now, means.expressions, means.payload_limit)

    def session(self, session_id: str) -> SessionState | None:
        """A session as this batch has it so far; None when there is none of that id."""
        state = self.means.sessions.get(session_id)
        if state is None:
            stored = self.locked.journals.get(session_id)
            if stored is None:
                return None
            state = fold(SessionState(session_id), stored)
            self.means.sessions.put(state)
        return state

    def start(self, session_id: str, command: SessionCommand, namespace: str) -> SessionState:
        """Begin a session that no journal knows yet."""
        state = SessionState(session_id, namespace=namespace)
        event = getattr(command, "event", None)
        assert isinstance(event, ev.SessionStarted)
        state.workflow, state.version = event.workflow, event.template_version
        self._decide(state, command)
        return state

    def decide(self, state: SessionState, command: SessionCommand) -> Refused | None:
        """Let the core decide, and write down what follows; a refusal changes nothing."""
        return self._decide(state, command)

    def _decide(self, state: SessionState, command: SessionCommand) -> Refused | None:
        self.touched[state.session_id] = state
        template = self.means.templates.parsed(state.namespace, state.workflow, state.version)
        decision = decide(template, state, command, self._around)
        if isinstance(decision, Refused):
            return decision
        if decision.events:
            self._record(state, decision)
        if decision.more:
            self._go_on(state)
        return None

    def _record(self, state: SessionState, decision: Decided) -> None:
        self._projection.add(state, decision.events)
        for event in decision.events:
            self._note(state, event)

    def _note(self, state: SessionState, event: ev.SessionEvent) -> None:
        """Remember what agents and slots must hear of after the commit."""
        match event:
            case ev.TaskClaimed():
                self.began[event.instance_id] += 1
            case ev.TaskCompleted() | ev.TaskRetried() | ev.TaskReleased():
                self._attempt_over(state, event.task_id)
            case ev.TaskFailed(attempt=attempt) if attempt:
                self._attempt_over(state, event.task_id)
            case ev.TaskCancelled(attempt=attempt) if attempt:
                self._attempt_over(state, event.task_id)
                self._tell(state, event.task_id, event.reason, 0)
            case ev.SessionStopping():
                grace = event.grace_until - self.now
                for task in state.tasks.values():
                    if task.status is TaskStatus.RUNNING:
                        self._tell(state, task.task_id, event.message, grace)
            case _:
                pass

    def _attempt_over(self, state: SessionState, task_id: str) -> None:
        instance = state.tasks[task_id].instance_id
        if instance is not None:
            self.ended[instance] += 1
            self.freed[task_id] = instance

    def _tell(self, state: SessionState, task_id: str, reason: str, grace: Micros) -> None:
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

    def forget_ended(self) -> None:
        """Ended sessions need no memory."""
        for session_id, state in self.touched.items():
            if state.status in SESSION_ENDED:
                self.means.sessions.evict(session_id)

    def forget_all(self) -> None:
        """The batch failed: what memory has may not be what the journal has."""
        for session_id in self.touched:
            self.means.sessions.evict(session_id)


_REFUSALS: dict[str, type[Refusal]] = {
    "not_found": NotFound,
    "unknown_task": NotFound,
    "stale_attempt": StaleAttempt,
    "conflict": Conflict,
}


def raise_refused(refused: Refused | None) -> None:
    """Turn the core's refusal into the error that people meet."""
    if refused is not None:
        raise _REFUSALS.get(refused.code, Invalid)(refused.detail, code=refused.code)
