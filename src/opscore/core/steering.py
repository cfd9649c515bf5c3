"""The rules of people's commands: cancel, pause, resume, retry, change."""

from __future__ import annotations

from collections.abc import Sequence

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.admission import begin_again
from opscore.core.attempts import give_up, make_available
from opscore.core.progress import (
    Draft,
    Refused,
    advance,
    fail_work,
    start_steps,
    stop,
)
from opscore.core.retry import CANCELLED, FALLBACK_REQUESTED
from opscore.core.state import SessionState, TaskState, running_attempt
from opscore.core.template import Step
from opscore.core.types import (
    AGEING_STEP,
    COMPENSATION,
    SESSION_ENDED,
    TASK_ENDED,
    TASK_QUEUED,
    ErrorInfo,
    Phase,
    SessionStatus,
    StepStatus,
    TaskStatus,
)


def cancel(draft: Draft, c: cmd.Cancel) -> Refused | None:
    """Wind down; the end comes when nothing runs any more."""
    state = draft.state
    if state.status in SESSION_ENDED:
        return _ended(state)
    if state.stopping is not None and state.stopping.cancelled:
        return None
    if state.stopping is not None and state.stopping.phase is Phase.COMPENSATING:
        why = "is undoing its completed steps, which cannot be cancelled; then it ends"
        return Refused("conflict", f"session {state.session_id} {why}")
    error = ErrorInfo(CANCELLED, c.reason or "cancelled")
    stop(draft, cancelled=True, error=error, grace=c.grace, actor=c.actor)
    return None


def _ended(state: SessionState) -> Refused:
    return Refused("conflict", f"session {state.session_id} has ended: {state.status}")


def pause(draft: Draft, c: cmd.Pause) -> Refused | None:
    """Start nothing new."""
    state = draft.state
    if state.status in SESSION_ENDED:
        return _ended(state)
    if state.stopping is not None:
        return Refused("conflict", f"session {state.session_id} is winding down")
    if state.paused_at is None:
        draft.emit(ev.SessionPaused(c.reason, c.actor))
    return None


def resume(draft: Draft, c: cmd.Resume) -> Refused | None:
    """Go on with what waited."""
    state = draft.state
    if state.status is not SessionStatus.PAUSED:
        return Refused("conflict", f"session {state.session_id} is not paused: {state.status}")
    draft.emit(ev.SessionResumed(c.reason, c.actor))
    if not state.held:
        start_steps(draft, draft.template.order)
        advance(draft)
    return None


def retry_session(draft: Draft, c: cmd.RetrySession) -> Refused | None:
    """Run failed steps again; completed outputs stay."""
    state = draft.state
    if state.status is not SessionStatus.ERROR:
        return Refused("conflict", f"session {state.session_id} is {state.status}, not error")
    if state.parent is not None:
        return _of_parent(state)
    _run_again(draft, c)
    return None


def _of_parent(state: SessionState) -> Refused:
    why = f"its parent {state.parent} has gone on without it; retry that one"
    return Refused("conflict", f"session {state.session_id} is a child session: {why}")


def _run_again(draft: Draft, c: cmd.RetrySession, resumed: Sequence[ev.TaskResumed] = ()) -> None:
    """Open again what failed or was cancelled, and whatever came of the failure.

    `resumed`: the tasks for which a person asks it.
    """
    template = draft.template
    also = {draft.state.tasks[e.task_id].step for e in resumed}
    steps = tuple(n for n in template.order if n in also or _runs_again(draft, template.steps[n]))
    total = template.timeout.total
    deadline = None if total is None else draft.now + total
    first = draft.state.held
    draft.emit(ev.SessionRetried(steps, c.reason, c.actor, deadline))
    for event in resumed:
        draft.emit(event)
    begin_again(draft, tuple(e.task_id for e in resumed if e.fallback), first=first)


def _runs_again(draft: Draft, step: Step) -> bool:
    """A failure that was allowed stays: others have gone on from it."""
    state = draft.state.steps[step.name]
    if state.late or state.status in (StepStatus.CANCELLED, StepStatus.COMPENSATED):
        return True
    return state.status is StepStatus.FAILED and not step.continue_on_error


def update(draft: Draft, c: cmd.UpdateSession) -> Refused | None:
    """Change priority, labels, metadata."""
    if c.priority is not None and draft.state.status in SESSION_ENDED:
        return _ended(draft.state)
    if c.priority is None and c.labels is None and c.metadata is None:
        return None
    draft.emit(ev.SessionUpdated(c.priority, draft.state.priority, c.labels, c.metadata, c.actor))
    return None


def retry_task(draft: Draft, c: cmd.RetryTask) -> Refused | None:
    """Try a waiting task now, or a failed one again."""
    task = draft.state.tasks.get(c.task_id)
    if task is not None and task.status is TaskStatus.SCHEDULED:
        if c.attempts is not None:
            draft.emit(ev.TaskAllowed(task.task_id, c.attempts, c.actor))
        make_available(draft, task)
        return None
    if task is None or task.status is not TaskStatus.FAILED:
        return _wrong_status(c.task_id, task, "scheduled or failed")
    return _resume(
        draft,
        task,
        [ev.TaskResumed(t, False, c.attempts, c.actor) for t in (c.task_id, *c.others)],
    )


def _resume(draft: Draft, task: TaskState, events: list[ev.TaskResumed]) -> Refused | None:
    """Open the session again for tasks that were given up. `task` is the first of them."""
    state = draft.state
    if task.member == COMPENSATION:
        return _compensate_again(draft, task, events[0])
    if state.status is not SessionStatus.ERROR:
        return Refused("conflict", f"session {state.session_id} is {state.status}, not error")
    if state.parent is not None:
        return _of_parent(state)
    if not _still_missing(draft, events[0]):
        detail = f"step {task.step} has gone on without task {task.task_id}"
        return Refused("conflict", detail)
    command = cmd.RetrySession(f"task {task.task_id}", events[0].actor)
    _run_again(draft, command, [event for event in events if _still_missing(draft, event)])
    return None


def _still_missing(draft: Draft, event: ev.TaskResumed) -> bool:
    """Whether a failed task's work was not done since, and can be done as the event says."""
    task = draft.state.tasks.get(event.task_id)
    if task is None or task.status is not TaskStatus.FAILED or task.member == COMPENSATION:
        return False
    if event.fallback and task.member >= len(draft.template.steps[task.step].fallback):
        return False
    step = draft.state.steps[task.step]
    if step.status not in (StepStatus.FAILED, StepStatus.CANCELLED):
        return False
    return task.index is None or step.outputs[task.index] is None


def _compensate_again(draft: Draft, task: TaskState, event: ev.TaskResumed) -> Refused | None:
    state = draft.state
    if state.status not in SESSION_ENDED or state.steps[task.step].undone_error is None:
        return Refused("conflict", f"step {task.step} is being undone, or is undone already")
    draft.emit(ev.SessionReopened((task.step,), event.actor))
    draft.emit(event)
    return None


def fallback_task(draft: Draft, c: cmd.FallbackTask) -> Refused | None:
    """Give the task up in favour of its next fallback; a failed one's step runs again with it."""
    task = draft.state.tasks.get(c.task_id)
    over = task is not None and task.status in (TaskStatus.COMPLETED, TaskStatus.CANCELLED)
    if task is None or over or draft.state.draining:
        return _wrong_status(c.task_id, task, "waiting, running or failed")
    chain = draft.template.steps[task.step].fallback
    if task.member == COMPENSATION or task.member >= len(chain):
        return Refused("conflict", f"task {c.task_id} has no further fallback")
    if task.status is TaskStatus.FAILED:
        named = (c.task_id, *c.others)
        return _resume(draft, task, [ev.TaskResumed(t, True, None, c.actor) for t in named])
    give_up(
        draft,
        task,
        ErrorInfo(FALLBACK_REQUESTED, f"{c.actor} asked for the fallback"),
    )
    return None


def cancel_task(draft: Draft, c: cmd.CancelTask) -> Refused | None:
    """End the task, and its step with it."""
    task = draft.state.tasks.get(c.task_id)
    if task is None or task.status in TASK_ENDED or draft.state.draining:
        return _wrong_status(c.task_id, task, "waiting or running")
    if task.member == COMPENSATION:
        return Refused("conflict", f"task {c.task_id} undoes step {task.step}; it goes on")
    draft.emit(ev.TaskCancelled(task.task_id, running_attempt(task), c.reason))
    error = ErrorInfo(CANCELLED, c.reason or "the task was cancelled")
    fail_work(draft, draft.template.steps[task.step], task.index, error)
    return None


def reprioritise(draft: Draft, c: cmd.ReprioritiseTask) -> Refused | None:
    """Move the task in its queue."""
    task = draft.state.tasks.get(c.task_id)
    if task is None or task.status not in TASK_QUEUED:
        return _wrong_status(c.task_id, task, "waiting")
    order = task.order + (task.priority - c.priority) * AGEING_STEP
    draft.emit(ev.TaskReprioritised(c.task_id, c.priority, order, task.order))
    return None


def _wrong_status(task_id: str, task: TaskState | None, wanted: str) -> Refused:
    if task is None:
        return Refused("not_found", f"there is no task {task_id}")
    return Refused("conflict", f"task {task_id} is {task.status}, not {wanted}")
