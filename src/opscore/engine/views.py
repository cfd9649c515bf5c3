"""Reading: sessions, tasks and histories as they were last committed.

States are folded from the journal by the reading connection, apart from the writer's cache: what
the writer has decided but not yet committed is nobody's business.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from opscore.core.errors import NotFound
from opscore.core.state import SessionState, StepState
from opscore.core.template import Step
from opscore.core.types import (
    ErrorInfo,
    Json,
    SessionStatus,
    StepStatus,
    TaskStatus,
    approval_id_of,
    session_id_of,
)
from opscore.debugging.usage import NULL, Spent, read_usage, spent_by
from opscore.engine.cache import TemplateCache
from opscore.engine.journal import fold, public
from opscore.engine.projection import read_error
from opscore.engine.records import (
    ApprovalRecord,
    AttemptRecord,
    EventRecord,
    Paged,
    SessionRecord,
    SessionSummary,
    StepRecord,
    TaskRecord,
    WaitRecord,
)
from opscore.engine.revisions import session_revision
from opscore.engine.waits import approval_of
from opscore.store.rows import SessionRow, StoredEvent, TaskPicture
from opscore.store.store import Filters, Store

FOLDED_KEPT = 64
PAGE_OF_EVENTS = 5_000
TASKS_SHOWN = 100


@dataclass(slots=True)
class Folded:
    """A session as far as it was read; few say what they `spent`."""

    state: SessionState
    spent: Spent | None = None


class Views:
    """Pictures for people. Knows nothing of the write path."""

    def __init__(self, store: Store, templates: TemplateCache) -> None:
        self._store = store
        self._templates = templates
        self._folded: OrderedDict[str, Folded] = OrderedDict()

    async def header(self, session_id: str, namespace: str) -> SessionRow:
        """A session's header. Raises NotFound, also for another namespace's."""
        row = await self._store.session(session_id)
        if row is None or row.namespace != namespace:
            raise NotFound(f"there is no session {session_id}")
        return row

    async def state(self, session_id: str, namespace: str) -> SessionState:
        """The folded state; only events newer than the last look are read."""
        return (await self._fold(session_id, namespace)).state

    async def _fold(self, session_id: str, namespace: str) -> Folded:
        row = await self.header(session_id, namespace)
        found = self._folded.pop(session_id, None) or Folded(SessionState(row.session_id))
        state = found.state
        while True:
            events = await self._store.journal(session_id, state.seq, PAGE_OF_EVENTS)
            newer = [e for e in events if e.seq > state.seq]
            fold(state, newer)
            found.spent = spent_in(newer, found.spent)
            if len(events) < PAGE_OF_EVENTS:
                break
        self._folded[session_id] = found
        while len(self._folded) > FOLDED_KEPT:
            self._folded.popitem(last=False)
        return found

    def forget(self, session_id: str) -> None:
        """The session was deleted."""
        self._folded.pop(session_id, None)

    async def session(self, session_id: str, namespace: str) -> SessionRecord:
        """A session in full."""
        found = await self._fold(session_id, namespace)
        state = found.state
        template = self._templates.parsed(state.namespace, state.workflow, state.version)
        return SessionRecord(
            session_id=state.session_id,
            namespace=state.namespace,
            workflow=state.workflow,
            version=state.version,
            status=state.status,
            parent=state.parent,
            waiting_for=waiting_for(state),
            priority=state.priority,
            labels=state.labels,
            agent_id=state.agent_id,
            created_at=state.created_at,
            updated_at=state.updated_at,
            finished_at=state.finished_at,
            trace_id=state.trace_id,
            cancelling=state.stopping is not None and state.stopping.cancelled,
            input=state.input,
            context=state.context,
            output=state.output,
            error=state.error,
            steps={name: _step(state, template.steps[name]) for name in template.order},
            metadata=state.metadata,
            revision=session_revision(state),
            spent=found.spent,
        )

    async def sessions(
        self, filters: Filters, cursor: str | None, limit: int
    ) -> Paged[SessionSummary]:
        """Headers, newest first."""
        rows = await self._store.sessions(filters, cursor, limit + 1)
        following = rows[limit - 1].session_id if len(rows) > limit else None
        return Paged([summary_of(row) for row in rows[:limit]], following)

    async def task(self, task_id: str, namespace: str) -> TaskRecord:
        """A task with every attempt. Raises NotFound."""
        row = await self._store.task(task_id)
        if row is None or row.task.namespace != namespace:
            raise NotFound(f"there is no task {task_id}")
        session_id = session_id_of(task_id) or ""
        events = await self._store.task_events(session_id, task_id)
        return task_of(row, attempts_of(events))

    async def tasks(self, filters: Filters, cursor: str | None, limit: int) -> Paged[TaskRecord]:
        """Tasks, newest first, without their attempts."""
        rows = await self._store.tasks(filters, cursor, limit + 1)
        following = rows[limit - 1].task.task_id if len(rows) > limit else None
        return Paged([task_of(row, ()) for row in rows[:limit]], following)

    async def approval(self, approval_id: str, namespace: str) -> ApprovalRecord:
        """What a step asks of people. Raises NotFound."""
        filters: Filters = {"namespace": namespace, "approval_id": approval_id}
        rows = await self._store.approvals(filters, None, 1)
        if not rows:
            raise NotFound(f"there is no approval {approval_id}")
        return approval_of(rows[0])

    async def approvals(
        self, filters: Filters, cursor: str | None, limit: int
    ) -> Paged[ApprovalRecord]:
        """What people are or were asked, the newest session's first."""
        rows = await self._store.approvals(filters, cursor, limit + 1)
        following = rows[limit - 1].approval_id if len(rows) > limit else None
        return Paged([approval_of(row) for row in rows[:limit]], following)

    async def history(
        self, session_id: str, namespace: str, after: int, limit: int
    ) -> Paged[EventRecord]:
        """Events in order, after sequence number `after`."""
        await self.header(session_id, namespace)
        events = await self._store.journal(session_id, after, limit + 1)
        following = str(events[limit - 1].seq) if len(events) > limit else None
        return Paged([public(e) for e in events[:limit]], following)


def spent_in(events: Iterable[StoredEvent], spent: Spent | None) -> Spent | None:
    """What these events tell, joined to what was spent before."""
    for event in events:
        more = spent_by(event.type, event.data)
        if more is not None:
            spent = spent or Spent()
            spent.join(more)
    return spent


def waiting_for(state: SessionState) -> str | None:
    """What a session that is not ended waits for, in one word; None when something runs."""
    if state.status is SessionStatus.PAUSED:
        return "resume"
    if state.held:
        return "limit"
    if state.running:
        return None
    if any(t.status is TaskStatus.AVAILABLE for t in state.tasks.values()):
        return "agent"
    if state.open_children:
        return "child"
    steps = [state.steps[name] for name in state.waits()]
    if any(step.approval is not None for step in steps):
        return "approval"
    if any(step.signal is not None for step in steps):
        return "signal"
    return "time" if steps or state.queued else None


def _step(state: SessionState, defined: Step) -> StepRecord:
    step = state.steps.get(defined.name) or StepState()
    total = len(step.items) if step.items is not None else 1
    never = step.status is StepStatus.PENDING and state.finished_at is not None
    return StepRecord(
        status=StepStatus.CANCELLED if never else step.status,
        tasks=tuple(step.task_ids[:TASKS_SHOWN]),
        total=0 if step.status is StepStatus.SKIPPED else total,
        completed=_completed(step),
        failed=step.failed,
        running=step.running,
        started_at=step.started_at,
        finished_at=step.finished_at,
        error=step.error,
        waiting_for=_step_waits_for(state, defined.name, step),
        labels=defined.labels,
        description=defined.description,
        iteration=step.iteration + 1 if defined.repeat and step.started_at else None,
        iterations=defined.repeat.max if defined.repeat else None,
        children=tuple((step.child_ids or [])[:TASKS_SHOWN]),
    )


def _completed(step: StepState) -> int:
    """How much of the step's work is done and did not fail: of a `foreach`, how many items."""
    if step.items is None:
        return int(step.status is StepStatus.COMPLETED)
    return step.done - len(step.errors or ())


def _step_waits_for(state: SessionState, name: str, step: StepState) -> WaitRecord | None:
    """What a step waits for, and until when at most."""
    if step.status is not StepStatus.WAITING:
        return None
    if step.approval is not None:
        return WaitRecord("approval", step.due, approval_id_of(state.session_id, name))
    return WaitRecord("time" if step.signal is None else "signal", step.due, step.signal)


def summary_of(row: SessionRow) -> SessionSummary:
    """A header as lists show it."""
    return SessionSummary(
        session_id=row.session_id,
        namespace=row.namespace,
        workflow=row.workflow,
        version=row.version,
        status=SessionStatus(row.status),
        priority=row.priority,
        labels=msgspec.json.decode(row.labels, type=dict[str, str]),
        agent_id=row.agent_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        finished_at=row.finished_at,
        trace_id=row.trace_id,
    )


def task_of(picture: TaskPicture, attempts: tuple[AttemptRecord, ...]) -> TaskRecord:
    """A task as people see it: its row, and its lease while it runs."""
    row, lease = picture
    return TaskRecord(
        task_id=row.task_id,
        session_id=row.session_id,
        namespace=row.namespace,
        step=row.step,
        index=row.item_index,
        member=row.member,
        capability=row.capability,
        agent=row.agent,
        status=TaskStatus(row.status) if lease is None else TaskStatus.RUNNING,
        attempt=row.attempt if lease is None else lease.attempt,
        failures=row.failures,
        priority=row.priority,
        input=row.input,
        output=row.output,
        error=read_error(row.error),
        due_at=row.due if row.status == TaskStatus.SCHEDULED else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
        finished_at=row.finished_at,
        agent_id=row.agent_id if lease is None else lease.agent_id,
        instance_id=row.instance_id if lease is None else lease.instance_id,
        attempts=attempts,
    )


_OUTCOMES = {
    "task.completed": "completed",
    "task.retried": "failed",
    "task.failed": "failed",
    "task.released": "released",
    "task.cancelled": "cancelled",
}


def attempts_of(events: list[StoredEvent]) -> tuple[AttemptRecord, ...]:
    """The attempts that a task's events tell of, in order."""
    attempts: dict[int, AttemptRecord] = {}
    asked: Json | None = None
    for event in events:
        data = msgspec.json.decode(event.data, type=_AttemptFacts)
        if event.type == "task.created":
            asked = bytes(data.input)
        elif event.type == "task.claimed":
            attempts[data.attempt] = AttemptRecord(
                data.attempt, data.agent_id, data.instance_id, event.at, input=asked
            )
        elif event.type in _OUTCOMES and data.attempt in attempts:
            attempts[data.attempt] = replace(
                attempts[data.attempt],
                ended_at=event.at,
                outcome=_OUTCOMES[event.type],
                error=_error(event.type, data),
                usage=read_usage(data.usage),
                reply=bytes(data.output) if event.type == "task.completed" else None,
            )
    return tuple(attempts.values())


class _AttemptFacts(msgspec.Struct):
    """What the events of an attempt have in common."""

    attempt: int = 0
    agent_id: str = ""
    instance_id: str = ""
    error_class: str | None = None
    message: str = ""
    reason: str = ""
    usage: msgspec.Raw = NULL
    http_status: int | None = None
    input: msgspec.Raw = NULL
    output: msgspec.Raw = NULL


def _error(kind: str, data: _AttemptFacts) -> ErrorInfo | None:
    if data.error_class is not None:
        return ErrorInfo(data.error_class, data.message, http_status=data.http_status)
    return ErrorInfo("cancelled", data.reason) if kind == "task.cancelled" else None
