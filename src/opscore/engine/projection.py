"""From events to rows: what a session's facts change in headers, tasks, queues and leases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from opscore.core import events as ev
from opscore.core.state import SessionState, TaskState
from opscore.core.template import Target
from opscore.core.types import (
    AGEING_STEP,
    TASK_QUEUED,
    ErrorInfo,
    Micros,
    SessionStatus,
    TaskStatus,
)
from opscore.engine.gated import gated_row, terms_text
from opscore.engine.gates import Gates
from opscore.engine.held import OF_LIMITS, project_limits
from opscore.engine.journal import encode
from opscore.engine.parents import ENDS, OF_CHILDREN, project_child, tell_children, tell_parent
from opscore.engine.waits import OF_WAITS, project_wait, project_waits, stop_timers
from opscore.store.rows import (
    Changes,
    DeadRow,
    DelayedRow,
    EventRow,
    LeaseRow,
    OutboxRow,
    ReadyRow,
    SessionRow,
    TaskChange,
    TaskRow,
)

_row = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
"""A NamedTuple's own constructor is a Python function: 0.42 µs for six fields, against 0.17."""


MATCHED = "match:"
"""How the queues of tasks begin that choose among the agents with a capability."""


def queue_name(capability: str | None, agent: str | None, match: str | None = None) -> str:
    """The queue of a task: that of the one agent it names, or that of its capability.

    Tasks that ask the same of agents have a queue of their own.
    """
    if match is not None:
        return f"{MATCHED}[{msgspec.json.encode(capability).decode()},{match}]"
    return f"agent:{agent}" if agent is not None else f"cap:{capability}"


def queue_target(queue: str) -> Target:
    """Whom the tasks of a queue are for."""
    kind, _, name = queue.partition(":")
    if kind == "match":
        capability, match = msgspec.json.decode(name, type=tuple[str, msgspec.Raw])
        return Target(capability, match=bytes(match).decode())
    return Target(name) if kind == "cap" else Target(agent=name)


def ready_row(state: SessionState, task: TaskState) -> ReadyRow:
    """A task's place in its queue."""
    fields = (
        state.namespace,
        queue_name(task.capability, task.agent, task.match),
        task.order,
        task.task_id,
        state.session_id,
        task.queue_deadline,
    )
    return _row(ReadyRow, fields)


def header_of(state: SessionState) -> SessionRow:
    """The header row of a session."""
    return SessionRow(
        state.session_id,
        state.namespace,
        state.workflow,
        state.version,
        state.status,
        state.priority,
        msgspec.json.encode(state.labels).decode() if state.labels else "{}",
        state.agent_id,
        state.trace_id,
        state.created_at,
        state.updated_at,
        state.finished_at,
        _next_deadline(state),
    )


def _next_deadline(state: SessionState) -> Micros | None:
    if state.finished_at is not None or state.paused_at is not None:
        return None
    if state.stopping is not None:
        return state.stopping.grace_until if state.draining else None
    return state.deadline


def error_text(error: ErrorInfo | None) -> str | None:
    """An error as its column keeps it."""
    if error is None:
        return None
    return msgspec.json.encode([error.error_class, error.message]).decode()


def read_error(text: str | None) -> ErrorInfo | None:
    """The reverse of `error_text`."""
    if text is None:
        return None
    error_class, message = msgspec.json.decode(text, type=tuple[str, str])
    return ErrorInfo(error_class, message)


class Projection:
    """Writes the rows of decisions into the changes of a batch.

    The state passed in is already folded forward; what a row was before follows from the events.
    """

    __slots__ = ("changes", "gates", "lease", "now")

    def __init__(self, changes: Changes, gates: Gates, now: Micros, lease: Micros) -> None:
        self.changes = changes
        self.gates = gates
        self.now = now
        self.lease = lease

    def add(
        self, state: SessionState, events: Sequence[ev.SessionEvent], was: SessionStatus
    ) -> None:
        """Project `events`, the last of which has the number `state.seq`.

        `was` is the session's status before them.
        """
        changes, now, session_id = self.changes, self.now, state.session_id
        touched: dict[str, TaskState] = {}
        header = state.status is not was
        for seq, event in enumerate(events, state.seq - len(events) + 1):
            kind = type(event)
            fields = (session_id, seq, now, kind.TYPE, kind.VERSION, encode(event))
            changes.events.append(_row(EventRow, fields))
            of_task = _OF_TASK.get(kind)
            if of_task is None:
                header = True
                self._of_session(state, event)
                continue
            task = state.tasks[event.task_id]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
            project, changes_row = of_task
            project(self, state, task, event)
            if changes_row:
                touched[task.task_id] = task
        for task in touched.values():
            self._task_row(task)
        if header:
            changes.sessions[session_id] = header_of(state)

    def _task_row(self, task: TaskState) -> None:
        changes, change = self.changes, _change(task)
        new = changes.tasks.get(task.task_id)
        if new is None:
            changes.task_changes[task.task_id] = change
        else:
            changes.tasks[task.task_id] = _changed(new, change)

    def _enqueue(self, state: SessionState, task: TaskState) -> None:
        if state.paused_at is None and task.status is TaskStatus.AVAILABLE:
            row = ready_row(state, task)
            if task.terms is None:
                self.changes.enqueue(row)
            else:
                self.changes.limits.gate(gated_row(row, task.terms))
                self.gates.wait(row, task.terms)

    def _dequeue(self, state: SessionState, task: TaskState) -> None:
        if not self.changes.withdraw(task.task_id):
            self._leave_place(task, ready_row(state, task))

    def _leave_place(self, task: TaskState, row: ReadyRow) -> None:
        if task.terms is None:
            self.changes.dequeue(row)
        else:
            self.changes.limits.ungate(row)
            self.gates.leave(task.task_id)

    def _end_lease(self, task: TaskState) -> None:
        self.changes.end_lease(task.task_id)
        if task.terms is not None:
            self.gates.release(task.task_id)

    def _delay(self, state: SessionState, task: TaskState, due: Micros) -> None:
        self.changes.delay(DelayedRow(due, task.task_id, state.session_id))

    def created(self, state: SessionState, task: TaskState, e: ev.TaskCreated) -> None:
        self.changes.tasks[task.task_id] = _new_row(state, task, e)
        if e.due is None:
            self._enqueue(state, task)
        else:
            self._delay(state, task, e.due)

    def available(self, state: SessionState, task: TaskState, e: ev.TaskAvailable) -> None:
        self.changes.undelay(DelayedRow(e.was_due, task.task_id, state.session_id))
        self._enqueue(state, task)

    def claimed(self, state: SessionState, task: TaskState, e: ev.TaskClaimed) -> None:
        self._dequeue(state, task)
        terms = None
        if task.terms is not None:
            terms = terms_text(task.terms)
            self.gates.take(task, state.namespace, self.now, self.changes)
        fields = (
            task.task_id,
            e.attempt,
            state.session_id,
            state.namespace,
            e.agent_id,
            e.instance_id,
            self.now + (e.heartbeat or self.lease),
            e.deadline,
            e.heartbeat,
            terms,
        )
        self.changes.leases[task.task_id] = _row(LeaseRow, fields)

    def completed(self, state: SessionState, task: TaskState, e: ev.TaskCompleted) -> None:
        self._end_lease(task)
        if e.ends_step and state.steps[task.step].due is not None:
            project_wait(self.changes, state, task.step)

    def retried(self, state: SessionState, task: TaskState, e: ev.TaskRetried) -> None:
        self._end_lease(task)
        self._delay(state, task, e.due)

    def released(self, state: SessionState, task: TaskState, e: ev.TaskReleased) -> None:
        self._end_lease(task)
        self._enqueue(state, task)

    def ended(
        self, state: SessionState, task: TaskState, e: ev.TaskFailed | ev.TaskCancelled
    ) -> None:
        if e.attempt:
            self._end_lease(task)
        elif task.due is not None:
            self.changes.undelay(DelayedRow(task.due, task.task_id, state.session_id))
        else:
            self._dequeue(state, task)

    def valued(self, state: SessionState, task: TaskState, e: ev.FallbackValued) -> None:
        """The failed task's row stays as it is; the value belongs to its step."""
        project_wait(self.changes, state, task.step)

    def allowed(self, state: SessionState, task: TaskState, e: ev.TaskAllowed) -> None:
        """The budget is the decider's business; no row shows it."""

    def reprioritised(self, state: SessionState, task: TaskState, e: ev.TaskReprioritised) -> None:
        if task.status is TaskStatus.AVAILABLE:
            row = ready_row(state, task)
            self._leave_place(task, row._replace(place=e.previous_order))
            self._enqueue(state, task)

    def _of_session(self, state: SessionState, event: ev.SessionEvent) -> None:
        match event:
            case ev.SessionStopping() | ev.WaitFailed():
                stop_timers(self.changes, state, event)
            case ev.SessionPaused() | ev.SessionResumed():
                move = self._dequeue if isinstance(event, ev.SessionPaused) else self._enqueue
                for task in _available_tasks(state):
                    move(state, task)
                project_waits(self.changes, state)
                tell_children(self.changes, state, priority=False)
            case ev.SessionUpdated(priority=int() as priority):
                self._reorder(state, (event.previous_priority - priority) * AGEING_STEP)
                tell_children(self.changes, state, priority=True)
            case ev.SessionFailed(on_error_input=given) if given is not None:
                self.changes.outbox[f"{state.session_id}/on-error/{state.seq}"] = OutboxRow(
                    f"{state.session_id}/on-error/{state.seq}",
                    state.namespace,
                    "on_error",
                    state.session_id,
                    bytes(given),
                )
            case _ if type(event) in OF_WAITS:
                project_wait(self.changes, state, event.step)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue, reportUnknownArgumentType]
            case _ if isinstance(event, OF_CHILDREN):
                project_child(self.changes, state, event)
                project_wait(self.changes, state, state.children[event.child_id].step)
            case _:
                pass
        if isinstance(event, ev.SessionFailed | ev.SessionCancelled):
            rows = [DeadRow(t, state.session_id, state.namespace) for t in event.dead]
            self.changes.dead += rows
        elif isinstance(event, ev.SessionRetried | ev.SessionReopened):
            self.changes.revived.add(state.session_id)
            gone = state.session_id
            self.changes.dead = [row for row in self.changes.dead if row.session_id != gone]
        if state.terms is not None and isinstance(event, OF_LIMITS):
            project_limits(self.changes, self.gates, state, event, self.now)
        if state.parent is not None and isinstance(event, ENDS):
            tell_parent(self.changes, state)

    def _reorder(self, state: SessionState, shift: Micros) -> None:
        for task in state.tasks.values():
            if task.own_priority or task.status not in TASK_QUEUED:
                continue
            if task.status is TaskStatus.AVAILABLE:
                row = ready_row(state, task)
                self._leave_place(task, row._replace(place=row.place - shift))
                self._enqueue(state, task)
            self._task_row(task)


def _available_tasks(state: SessionState) -> list[TaskState]:
    return [t for t in state.tasks.values() if t.status is TaskStatus.AVAILABLE]


def _new_row(state: SessionState, task: TaskState, e: ev.TaskCreated) -> TaskRow:
    fields = (
        e.task_id,
        state.session_id,
        state.namespace,
        e.step,
        e.index,
        e.member,
        e.capability,
        e.agent,
        e.input,
        task.created_at,
        e.priority,
        TaskStatus.AVAILABLE if e.due is None else TaskStatus.SCHEDULED,
        task.created_at,
        0,
        0,
        None,
        None,
        e.due,
        None,
        None,
        None,
    )
    return _row(TaskRow, fields)


def _change(task: TaskState) -> TaskChange:
    fields = (
        task.task_id,
        task.priority,
        task.status,
        task.updated_at,
        task.attempt,
        task.failures,
        task.agent_id,
        task.instance_id,
        task.due,
        task.finished_at,
        task.output,
        error_text(task.error),
    )
    return _row(TaskChange, fields)


def _changed(new: TaskRow, change: TaskChange) -> TaskRow:
    """A task that was made and changed in one batch is written once."""
    return TaskRow._make((*new[: 1 - len(change)], *change[1:]))


_Project = Callable[[Projection, SessionState, TaskState, Any], None]

_OF_TASK: Mapping[type, tuple[_Project, bool]] = {
    ev.TaskCreated: (Projection.created, False),
    ev.TaskAvailable: (Projection.available, True),
    ev.TaskClaimed: (Projection.claimed, False),
    ev.TaskCompleted: (Projection.completed, True),
    ev.TaskRetried: (Projection.retried, True),
    ev.TaskReleased: (Projection.released, True),
    ev.TaskFailed: (Projection.ended, True),
    ev.FallbackValued: (Projection.valued, False),
    ev.TaskCancelled: (Projection.ended, True),
    ev.TaskAllowed: (Projection.allowed, False),
    ev.TaskReprioritised: (Projection.reprioritised, True),
}
"""What an event of a task changes, and whether the task's own row is among it.

That a task runs is told by its lease.
"""
