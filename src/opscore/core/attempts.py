"""The rules of attempts: claiming, settling, coming due, giving up, falling back."""

from __future__ import annotations

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.expressions import ExpressionFailed
from opscore.core.kinds.task import create_task
from opscore.core.progress import Draft, Refused, fail_work, go_on
from opscore.core.retry import REJECTED, TIMEOUT
from opscore.core.state import TaskState, running_attempt
from opscore.core.task import (
    Completed,
    Exhausted,
    Released,
    Retry,
    is_current,
    settle,
    was_settled,
)
from opscore.core.template import Step
from opscore.core.types import TASK_ENDED, ErrorInfo, Json, TaskStatus, ready_order


def claim(draft: Draft, c: cmd.Claim) -> Refused | None:
    """An instance takes an available task."""
    state = draft.state
    task = state.tasks.get(c.task_id)
    if task is None or task.status is not TaskStatus.AVAILABLE:
        return Refused("conflict", f"task {c.task_id} is not available")
    if state.paused_at is not None or state.draining:
        return Refused("conflict", f"session {state.session_id} starts nothing new")
    bounds = draft.template.steps[task.step].timeout
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
    policy = draft.template.steps[task.step].retry
    match settle(task, policy, c.outcome, draft.now, c.chance):
        case Completed(output, usage):
            _complete_task(draft, task, output, usage)
        case Released(reason):
            draft.emit(ev.TaskReleased(task.task_id, task.attempt, reason, task.order))
        case Retry(error, due, usage):
            word, message = error.error_class, error.message
            draft.emit(ev.TaskRetried(task.task_id, task.attempt, word, message, due, usage))
        case Exhausted(error, usage):
            give_up(draft, task, error, usage)
    return None


def _why_stale(task: TaskState, attempt: int) -> str:
    if task.status in TASK_ENDED:
        return f"task {task.task_id} is {task.status} (attempt {task.attempt})"
    return f"attempt {attempt} of task {task.task_id} is not the current one ({task.attempt})"


def _settle_draining(draft: Draft, task: TaskState, c: cmd.Settle) -> None:
    """A session that winds down records what still comes in, and starts nothing from it."""
    match c.outcome:
        case Completed(output, usage):
            try:
                ends = _ends_step(draft, task, output)
            except ExpressionFailed:
                ends = False
            draft.emit(ev.TaskCompleted(task.task_id, task.attempt, output, ends, usage))
        case Released(reason):
            draft.emit(ev.TaskCancelled(task.task_id, task.attempt, reason))
        case _:
            error = c.outcome.error
            word, message, usage = error.error_class, error.message, c.outcome.usage
            draft.emit(ev.TaskFailed(task.task_id, task.attempt, word, message, usage))


def _ends_step(draft: Draft, task: TaskState, output: Json) -> bool:
    """Whether this output is the last that its step waits for. Raises ExpressionFailed."""
    state = draft.state.steps[task.step]
    if state.items is not None:
        return state.done + 1 == len(state.items)
    step = draft.template.steps[task.step]
    return step.repeat is None or _is_last(draft, step, output)


def _is_last(draft: Draft, step: Step, output: Json) -> bool:
    """Whether a `repeat` is done: `until` holds for this output, or `max` is reached."""
    assert step.repeat is not None
    scope = draft.scope(step)
    scope.previous = output
    done = draft.expressions.condition(step.repeat.until, scope)
    return done or draft.state.steps[step.name].iteration + 1 >= step.repeat.max


def _complete_task(draft: Draft, task: TaskState, output: Json, usage: Json | None) -> None:
    failure: ExpressionFailed | None = None
    try:
        ends = _ends_step(draft, task, output)
    except ExpressionFailed as caught:
        ends, failure = False, caught
    draft.emit(ev.TaskCompleted(task.task_id, task.attempt, output, ends, usage))
    _work_done(draft, task, ends, failure)


def _work_done(draft: Draft, task: TaskState, ends: bool, failure: ExpressionFailed | None) -> None:
    step = draft.template.steps[task.step]
    if failure is not None:
        fail_work(draft, step, None, ErrorInfo(failure.error_class, str(failure)))
        return
    if step.repeat is not None and not ends:
        draft.emit(ev.StepIterated(step.name, draft.state.steps[step.name].iteration))
    go_on(draft, step)


def give_up(draft: Draft, task: TaskState, error: ErrorInfo, usage: Json | None = None) -> None:
    """No further attempt of this task: its fallback follows, or its step fails."""
    attempt = running_attempt(task)
    draft.emit(ev.TaskFailed(task.task_id, attempt, error.error_class, error.message, usage))
    step = draft.template.steps[task.step]
    member = task.member + 1
    if member > len(step.fallback):
        fail_work(draft, step, task.index, error)
        return
    try:
        _fall_back(draft, task, member, error)
    except ExpressionFailed as failure:
        fail_work(draft, step, task.index, ErrorInfo(failure.error_class, str(failure)))


def _fall_back(draft: Draft, task: TaskState, member: int, error: ErrorInfo) -> None:
    step = draft.template.steps[task.step]
    items = draft.state.steps[task.step].items
    item = items[task.index] if items is not None and task.index is not None else None
    value = step.fallback[member - 1].value
    if value is None:
        create_task(draft, step, item, task.index, member, error)
        return
    scope = draft.scope(step, item, task.index)
    scope.error = error
    output = draft.expressions.render(value, scope)
    ends = _ends_step(draft, task, output)
    draft.emit(ev.FallbackValued(task.task_id, member, output, ends))
    _work_done(draft, task, ends, None)


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
    deadline = draft.queue_deadline(draft.template.steps[task.step])
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
