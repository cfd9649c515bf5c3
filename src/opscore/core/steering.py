"""The rules of people's commands: cancel, pause, resume, retry, change."""

from __future__ import annotations

from opscore.core import commands as cmd
from opscore.core import events as ev
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
    SESSION_ENDED,
    TASK_ENDED,
    TASK_QUEUED,
    ErrorInfo,
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
    start_steps(draft, draft.template.order)
    advance(draft)
    return None


def retry_session(draft: Draft, c: cmd.RetrySession) -> Refused | None:
    """Run failed steps again; completed outputs stay."""
    state = draft.state
    if state.status is not SessionStatus.ERROR:
        return Refused("conflict", f"session {state.session_id} is {state.status}, not error")
    _run_again(draft, c)
    return None


def _run_again(draft: Draft, c: cmd.RetrySession, also: str | None = None) -> None:
    """Open again what failed or was cancelled, and whatever came of the failure."""
    template = draft.template
    steps = tuple(n for n in template.order if n == also or _runs_again(draft, template.steps[n]))
    total = draft.template.timeout.total
    deadline = None if total is None else draft.now + total
    draft.emit(ev.SessionRetried(steps, c.reason, c.actor, deadline))
    start_steps(draft, draft.template.order)
    advance(draft)


def _runs_again(draft: Draft, step: Step) -> bool:
    """A failure that was allowed stays: others have gone on from it."""
    state = draft.state.steps[step.name]
    if state.late or state.status is StepStatus.CANCELLED:
        return True
    return state.status is StepStatus.FAILED and not step.continue_on_error


def update(draft: Draft, c: cmd.UpdateSession) -> Refused | None:
    """Change priority, labels, metadata."""
    if c.priority is not None and draft.state.status in SESSION_ENDED:
        return _ended(draft.state)
    draft.emit(ev.SessionUpdated(c.priority, draft.state.priority, c.labels, c.metadata, c.actor))
    return None


def retry_task(draft: Draft, c: cmd.RetryTask) -> Refused | None:
    """Try a waiting task now, or a failed one again."""
    task = draft.state.tasks.get(c.task_id)
    if task is not None and task.status is TaskStatus.SCHEDULED:
        _allow(draft, c, [task])
        make_available(draft, task)
        return None
    if task is None or task.status is not TaskStatus.FAILED:
        return _wrong_status(c.task_id, task, "scheduled or failed")
    before = len(draft.state.tasks)
    if draft.state.status is not SessionStatus.ERROR:
        return retry_session(draft, cmd.RetrySession("", c.actor))
    _run_again(draft, cmd.RetrySession(f"retry of {c.task_id}", c.actor), task.step)
    made = list(draft.state.tasks.values())[before:]
    _allow(draft, c, [t for t in made if (t.step, t.index) == (task.step, task.index)])
    return None


def _allow(draft: Draft, c: cmd.RetryTask, tasks: list[TaskState]) -> None:
    if c.attempts is not None:
        for task in tasks:
            draft.emit(ev.TaskAllowed(task.task_id, c.attempts, c.actor))


def fallback_task(draft: Draft, c: cmd.FallbackTask) -> Refused | None:
    """Give the task up in favour of its next fallback."""
    task = draft.state.tasks.get(c.task_id)
    if task is None or task.status in TASK_ENDED or draft.state.draining:
        return _wrong_status(c.task_id, task, "waiting or running")
    if task.member >= len(draft.template.steps[task.step].fallback):
        return Refused("conflict", f"task {c.task_id} has no further fallback")
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
