"""The rules of attempts: claiming, settling, coming due, giving up, falling back."""

from __future__ import annotations

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.compensation import bounds_of, compensated, policy_of, uncompensated
from opscore.core.expressions import ExpressionFailed
from opscore.core.progress import Draft, Refused, check_output
from opscore.core.retry import REJECTED, TIMEOUT
from opscore.core.state import TaskState, running_attempt
from opscore.core.task import (
    Completed,
    Exhausted,
    Failed,
    Outcome,
    Released,
    Retry,
    is_current,
    settle,
    was_settled,
)
from opscore.core.template import Step
from opscore.core.types import COMPENSATION, TASK_ENDED, ErrorInfo, Json, TaskStatus, ready_order
from opscore.core.work import Place, ends_or_fails, give_up_work, work_done


def claim(draft: Draft, c: cmd.Claim) -> Refused | None:
    """An instance takes an available task."""
    state = draft.state
    task = state.tasks.get(c.task_id)
    if task is None or task.status is not TaskStatus.AVAILABLE:
        return Refused("conflict", f"task {c.task_id} is not available")
    if state.paused_at is not None or state.draining:
        return Refused("conflict", f"session {state.session_id} starts nothing new")
    bounds = bounds_of(draft.template.steps[task.step], task)
    draft.emit(
        ev.TaskClaimed(
            c.task_id,
            task.attempt + 1,
            c.agent_id,
            c.instance_id,
            None if bounds.attempt is None else draft.now + bounds.attempt,
            bounds.heartbeat,
        )
    )
    return None


def settle_attempt(draft: Draft, c: cmd.Settle) -> Refused | None:
    """An attempt's end, fenced by its number."""
    state = draft.state
    task = state.tasks.get(c.task_id)
    if task is None:
        return Refused("unknown_task", f"there is no task {c.task_id}")
    if not is_current(task, c.attempt):
        if was_settled(task, c.attempt, c.outcome):
            return None
        return Refused("stale_attempt", _why_stale(task, c.attempt))
    if state.draining:
        _settle_draining(draft, task, c)
        return None
    step = draft.template.steps[task.step]
    outcome = checked(draft, step, task, c.outcome)
    match settle(task, policy_of(step, task), outcome, draft.now, c.chance):
        case Completed(output, usage):
            _complete_task(draft, task, output, usage)
        case Released(reason):
            draft.emit(ev.TaskReleased(task.task_id, task.attempt, reason, task.order))
        case Retry(error, due, usage):
            word, message, status = error.error_class, error.message, error.http_status
            attempt = task.attempt
            draft.emit(ev.TaskRetried(task.task_id, attempt, word, message, due, usage, status))
        case Exhausted(error, usage):
            give_up(draft, task, error, usage)
    return None


def checked(draft: Draft, step: Step, task: TaskState, outcome: Outcome) -> Outcome:
    """An output that does not fit the step's schema is a failure of the attempt."""
    if step.output_schema is None or not isinstance(outcome, Completed):
        return outcome
    if task.member == COMPENSATION:
        return outcome
    try:
        check_output(draft, step, outcome.output)
    except ExpressionFailed as failure:
        return Failed(ErrorInfo(failure.error_class, str(failure)), outcome.usage)
    return outcome


def _why_stale(task: TaskState, attempt: int) -> str:
    if task.status in TASK_ENDED:
        return f"task {task.task_id} is {task.status} (attempt {task.attempt})"
    return f"attempt {attempt} of task {task.task_id} is not the current one ({task.attempt})"


def _settle_draining(draft: Draft, task: TaskState, c: cmd.Settle) -> None:
    """A session that winds down records what still comes in, and starts nothing from it."""
    outcome = checked(draft, draft.template.steps[task.step], task, c.outcome)
    match outcome:
        case Completed(output, usage):
            ends, _ = ends_or_fails(draft, draft.template.steps[task.step], output)
            draft.emit(ev.TaskCompleted(task.task_id, task.attempt, output, ends, usage))
        case Released(reason):
            draft.emit(ev.TaskCancelled(task.task_id, task.attempt, reason))
        case _:
            draft.emit(_failed(task, task.attempt, outcome.error, outcome.usage))


def _complete_task(draft: Draft, task: TaskState, output: Json, usage: Json | None) -> None:
    if task.member == COMPENSATION:
        compensated(draft, task, output, usage)
        return
    step = draft.template.steps[task.step]
    ends, failure = ends_or_fails(draft, step, output)
    draft.emit(ev.TaskCompleted(task.task_id, task.attempt, output, ends, usage))
    work_done(draft, step, ends, failure)


def _failed(task: TaskState, attempt: int, e: ErrorInfo, usage: Json | None) -> ev.TaskFailed:
    return ev.TaskFailed(task.task_id, attempt, e.error_class, e.message, usage, e.http_status)


def give_up(draft: Draft, task: TaskState, error: ErrorInfo, usage: Json | None = None) -> None:
    """No further attempt of this task: its fallback follows, or its step fails."""
    draft.emit(_failed(task, running_attempt(task), error, usage))
    if task.member == COMPENSATION:
        uncompensated(draft, task, error)
        return
    give_up_work(draft, place_of(draft, task), error)


def place_of(draft: Draft, task: TaskState) -> Place:
    """Whose work a task is."""
    step = draft.template.steps[task.step]
    return Place(step, task.index, task.member, task.task_id)


def task_due(draft: Draft, c: cmd.TaskDue) -> Refused | None:
    """A scheduled task's time has come."""
    task = draft.state.tasks.get(c.task_id)
    if task is None or task.status is not TaskStatus.SCHEDULED:
        return Refused("conflict", f"task {c.task_id} is not scheduled")
    if task.due is not None and task.due > draft.now:
        return Refused("conflict", f"task {c.task_id} is not due yet")
    make_available(draft, task)
    return None


def make_available(draft: Draft, task: TaskState) -> None:
    """Let the task be claimed from now on."""
    assert task.due is not None
    # One that has run before keeps its place: a retry does not queue up behind younger tasks.
    due = min(task.due, draft.now)
    order = task.order if task.attempt else ready_order(due, task.priority)
    deadline = draft.queue_deadline(bounds_of(draft.template.steps[task.step], task))
    draft.emit(ev.TaskAvailable(task.task_id, task.due, order, deadline))


def queue_timeout(draft: Draft, c: cmd.QueueTimeout) -> Refused | None:
    """Nobody took the task in time."""
    state = draft.state
    task = state.tasks.get(c.task_id)
    held = state.paused_at is not None or state.draining
    if task is None or task.status is not TaskStatus.AVAILABLE or held:
        return Refused("conflict", f"task {c.task_id} is not waiting")
    if task.queue_deadline is None or task.queue_deadline > draft.now:
        return Refused("conflict", f"task {c.task_id} may still wait")
    give_up(draft, task, ErrorInfo(TIMEOUT, f"nobody took the task in time: {c.why}"))
    return None


def reject(draft: Draft, c: cmd.RejectTask) -> Refused | None:
    """There is no room under the limit of a task that does not wait for any."""
    task = draft.state.tasks.get(c.task_id)
    if task is None or task.status is not TaskStatus.AVAILABLE:
        return Refused("conflict", f"task {c.task_id} is not waiting")
    give_up(draft, task, ErrorInfo(REJECTED, c.why))
    return None
