"""`evolve` folds one event into a session's state.

It decides nothing and evaluates nothing, so a journal replays identically for ever. It changes the
state in place: copying a large state per event would make fan-out quadratic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opscore.core import events as ev
from opscore.core.child_folds import CHILD_FOLDS
from opscore.core.state import SessionState, StepState, Stopping, TaskState
from opscore.core.step_folds import STEP_FOLDS, begin_step, end_open_steps, item_done, reopen_step
from opscore.core.types import (
    AGEING_STEP,
    COMPENSATION,
    TASK_ENDED,
    ErrorInfo,
    Micros,
    Phase,
    SessionStatus,
    StepStatus,
    TaskStatus,
)
from opscore.core.wait_folds import WAIT_FOLDS


def evolve(state: SessionState, event: ev.SessionEvent, at: Micros) -> None:
    """Fold `event`, which happened `at`, into `state`."""
    state.seq += 1
    state.updated_at = at
    _FOLDS[type(event)](state, event, at)


def _session_started(state: SessionState, e: ev.SessionStarted, at: Micros) -> None:
    state.namespace = e.namespace
    state.workflow = e.workflow
    state.version = e.template_version
    state.input = e.input
    state.context = e.context
    state.priority = e.priority
    state.labels = e.labels
    state.trace_id = e.trace_id
    state.traceparent = e.traceparent
    state.agent_id = e.agent_id
    state.agent_name = e.agent_name
    state.agent_capabilities = e.agent_capabilities
    state.on_error_version = e.on_error_version
    state.parent = e.parent
    state.depth = e.depth
    if e.env is not None:
        state.env = e.env
    if e.versions is not None:
        state.versions = e.versions
    state.deadline = e.deadline
    state.due = e.due
    state.created_at = at


def _task_created(state: SessionState, e: ev.TaskCreated, at: Micros) -> None:
    step = state.steps[e.step]
    if step.status is StepStatus.PENDING:
        begin_step(state, step, at)
    if e.member == 0 and e.index is not None and e.index >= step.next_index:
        step.next_index = e.index + 1
    allowance = step.allowances.pop(e.index, None) if step.allowances else None
    step.active += 1
    step.task_ids.append(e.task_id)
    state.queued += 1
    state.tasks[e.task_id] = TaskState(
        e.task_id,
        e.step,
        e.index,
        e.member,
        e.capability,
        e.agent,
        e.input,
        e.priority,
        e.order,
        TaskStatus.AVAILABLE if e.due is None else TaskStatus.SCHEDULED,
        at,
        at,
        e.due,
        e.queue_deadline,
        own_priority=e.priority != state.priority,
        terms=e.terms,
        match=e.match,
        allowance=allowance,
    )


def _task_available(state: SessionState, e: ev.TaskAvailable, at: Micros) -> None:
    task = state.tasks[e.task_id]
    task.status = TaskStatus.AVAILABLE
    task.updated_at = task.available_at = at
    task.order = e.order
    task.due = None
    task.queue_deadline = e.queue_deadline


def _task_claimed(state: SessionState, e: ev.TaskClaimed, at: Micros) -> None:
    task = state.tasks[e.task_id]
    task.status = TaskStatus.RUNNING
    task.updated_at = task.claimed_at = at
    task.attempt = e.attempt
    task.agent_id = e.agent_id
    task.instance_id = e.instance_id
    task.deadline = e.deadline
    state.started = True
    state.queued -= 1
    state.running += 1
    state.steps[task.step].running += 1
    if state.status is SessionStatus.WAITING:
        state.status = SessionStatus.PROCESSING


def _leave_attempt(state: SessionState, task: TaskState) -> None:
    if task.status is TaskStatus.RUNNING:
        state.running -= 1
        state.steps[task.step].running -= 1
    else:
        state.queued -= 1


def _end_task(state: SessionState, task: TaskState, status: TaskStatus, at: Micros) -> StepState:
    _leave_attempt(state, task)
    task.status = status
    task.updated_at = task.finished_at = at
    task.input = None
    step = state.steps[task.step]
    step.active -= 1
    return step


def _task_completed(state: SessionState, e: ev.TaskCompleted, at: Micros) -> None:
    task = state.tasks[e.task_id]
    step = _end_task(state, task, TaskStatus.COMPLETED, at)
    task.output = e.output
    task.error = None
    if task.member != COMPENSATION:
        item_done(state, step, task.index, e.output, e.ends_step, at)


def _task_retried(state: SessionState, e: ev.TaskRetried, at: Micros) -> None:
    task = state.tasks[e.task_id]
    _leave_attempt(state, task)
    state.queued += 1
    task.status = TaskStatus.SCHEDULED
    task.updated_at = at
    task.failures += 1
    task.due = e.due
    task.error = ErrorInfo(e.error_class, e.message)


def _task_released(state: SessionState, e: ev.TaskReleased, at: Micros) -> None:
    task = state.tasks[e.task_id]
    _leave_attempt(state, task)
    state.queued += 1
    task.status = TaskStatus.AVAILABLE
    task.updated_at = task.available_at = at
    task.order = e.order


def _task_failed(state: SessionState, e: ev.TaskFailed, at: Micros) -> None:
    task = state.tasks[e.task_id]
    kept = task.input
    _end_task(state, task, TaskStatus.FAILED, at)
    task.input = kept
    task.error = ErrorInfo(e.error_class, e.message)
    state.steps[task.step].failed += 1
    if e.attempt:
        task.failures += 1


def _fallback_valued(state: SessionState, e: ev.FallbackValued, at: Micros) -> None:
    task = state.tasks[e.task_id]
    item_done(state, state.steps[task.step], task.index, e.output, e.ends_step, at)


def _task_cancelled(state: SessionState, e: ev.TaskCancelled, at: Micros) -> None:
    task = state.tasks[e.task_id]
    _end_task(state, task, TaskStatus.CANCELLED, at)
    task.error = ErrorInfo("cancelled", e.reason)


def _task_allowed(state: SessionState, e: ev.TaskAllowed, _at: Micros) -> None:
    task = state.tasks[e.task_id]
    task.allowance = task.failures + e.attempts


def _task_resumed(state: SessionState, e: ev.TaskResumed, _at: Micros) -> None:
    task = state.tasks[e.task_id]
    step = state.steps[task.step]
    if e.attempts is not None:
        step.allowances = {**(step.allowances or {}), task.index: e.attempts}
    if e.fallback and task.index is not None:
        step.moved_on = {*(step.moved_on or ()), task.index}


def _task_reprioritised(state: SessionState, e: ev.TaskReprioritised, at: Micros) -> None:
    task = state.tasks[e.task_id]
    task.priority = e.priority
    task.own_priority = True
    task.order = e.order
    task.updated_at = at


def _session_stopping(state: SessionState, e: ev.SessionStopping, at: Micros) -> None:
    error = ErrorInfo(e.error_class, e.message)
    state.stopping = Stopping(e.cancelled, error, e.grace_until, at, e.actor)
    state.failure = error
    state.paused_at = None
    if state.status is SessionStatus.PAUSED:
        state.status = SessionStatus.PROCESSING if state.started else SessionStatus.WAITING


def _session_handling(state: SessionState, e: ev.SessionHandling, at: Micros) -> None:
    assert state.stopping is not None
    state.stopping = replace(state.stopping, phase=Phase.HANDLING)
    end_open_steps(state, at)


def _session_held(state: SessionState, e: ev.SessionHeld, _at: Micros) -> None:
    state.terms = e.terms
    state.held = True
    state.order = e.order
    state.resumed = e.resumed


def _session_admitted(state: SessionState, _e: ev.SessionAdmitted, _at: Micros) -> None:
    state.held = False
    state.resumed = ()


def _finish(state: SessionState, status: SessionStatus, at: Micros) -> None:
    state.status = status
    state.finished_at = at
    state.stopping = None
    state.paused_at = None


def _session_completed(state: SessionState, e: ev.SessionCompleted, at: Micros) -> None:
    state.output = e.output
    _finish(state, SessionStatus.COMPLETED, at)


def _session_failed(state: SessionState, e: ev.SessionFailed, at: Micros) -> None:
    state.error = ErrorInfo(e.error_class, e.message)
    end_open_steps(state, at)
    _finish(state, SessionStatus.ERROR, at)


def _session_cancelled(state: SessionState, e: ev.SessionCancelled, at: Micros) -> None:
    state.error = ErrorInfo("cancelled", e.message)
    end_open_steps(state, at)
    _finish(state, SessionStatus.CANCELLED, at)


def _session_paused(state: SessionState, e: ev.SessionPaused, at: Micros) -> None:
    state.status = SessionStatus.PAUSED
    state.paused_at = at
    state.paused_by = e.actor
    state.pause_reason = e.reason


def _session_resumed(state: SessionState, e: ev.SessionResumed, at: Micros) -> None:
    assert state.paused_at is not None
    stood = at - state.paused_at
    state.paused_at = None
    state.status = SessionStatus.PROCESSING if state.started else SessionStatus.WAITING
    if state.deadline is not None:
        state.deadline += stood
    for task in state.tasks.values():
        if task.queue_deadline is not None and task.status is TaskStatus.AVAILABLE:
            task.queue_deadline += stood
    for name in state.bounded():
        step = state.steps[name]
        step.due = None if step.due is None else step.due + stood


def _session_retried(state: SessionState, e: ev.SessionRetried, at: Micros) -> None:
    state.status = SessionStatus.PROCESSING
    state.finished_at = None
    state.error = None
    state.held = False
    state.deadline = e.deadline
    for name in e.steps:
        reopen_step(state.steps[name])


def _session_reopened(state: SessionState, e: ev.SessionReopened, at: Micros) -> None:
    assert state.failure is not None
    cancelled = state.status is SessionStatus.CANCELLED
    phase = Phase.COMPENSATING
    state.stopping = Stopping(cancelled, state.failure, at, at, e.actor, phase, reopened=True)
    state.status = SessionStatus.PROCESSING
    state.finished_at = None
    state.error = None
    for name in e.steps:
        state.steps[name].undone_error = None


def _reorder(state: SessionState, shift: Micros, priority: int) -> None:
    for task in state.tasks.values():
        if not task.own_priority and task.status not in TASK_ENDED:
            task.order += shift
            task.priority = priority
    if state.held:
        state.order += shift
    state.priority = priority


def _session_updated(state: SessionState, e: ev.SessionUpdated, at: Micros) -> None:
    if e.priority is not None:
        _reorder(state, (state.priority - e.priority) * AGEING_STEP, e.priority)
    if e.labels is not None:
        state.labels = e.labels
    if e.metadata is not None:
        state.metadata = e.metadata


_FOLDS: Mapping[type, Callable[[SessionState, Any, Micros], None]] = {
    ev.SessionStarted: _session_started,
    ev.SessionHeld: _session_held,
    ev.SessionAdmitted: _session_admitted,
    **STEP_FOLDS,
    **CHILD_FOLDS,
    ev.TaskCreated: _task_created,
    ev.TaskAvailable: _task_available,
    ev.TaskClaimed: _task_claimed,
    ev.TaskCompleted: _task_completed,
    ev.TaskRetried: _task_retried,
    ev.TaskReleased: _task_released,
    ev.TaskFailed: _task_failed,
    ev.FallbackValued: _fallback_valued,
    ev.TaskCancelled: _task_cancelled,
    ev.TaskAllowed: _task_allowed,
    ev.TaskResumed: _task_resumed,
    ev.TaskReprioritised: _task_reprioritised,
    ev.SessionStopping: _session_stopping,
    ev.SessionHandling: _session_handling,
    ev.SessionCompleted: _session_completed,
    ev.SessionFailed: _session_failed,
    ev.SessionCancelled: _session_cancelled,
    ev.SessionPaused: _session_paused,
    ev.SessionResumed: _session_resumed,
    ev.SessionRetried: _session_retried,
    ev.SessionReopened: _session_reopened,
    ev.SessionUpdated: _session_updated,
    **WAIT_FOLDS,
}
