"""Undoing what completed, when a session fails or is cancelled: one step at a time, newest first.

The pattern is that of sagas: H. Garcia-Molina and K. Salem, "Sagas" (SIGMOD 1987).
"""

from __future__ import annotations

from opscore.core import events as ev
from opscore.core.expressions import ExpressionFailed
from opscore.core.kinds.task import add_task
from opscore.core.progress import Draft
from opscore.core.state import TaskState
from opscore.core.template import Compensation, RetryPolicy, Step, Timeouts
from opscore.core.types import COMPENSATION, ErrorInfo, Json, StepStatus


def compensate_next(draft: Draft) -> bool:
    """Begin to undo the step that completed last of those not undone; False when none is left."""
    while (step := _next(draft)) is not None:
        draft.emit(ev.StepCompensating(step.name))
        try:
            _create(draft, step)
        except ExpressionFailed as failure:
            error = ErrorInfo(failure.error_class, str(failure))
            draft.emit(ev.CompensationFailed(step.name, error.error_class, error.message))
        else:
            return True
    return False


def _next(draft: Draft) -> Step | None:
    """Strictly the reverse of the order of completion."""
    states = draft.state.steps
    left = [
        step
        for name, step in draft.template.steps.items()
        if step.compensate is not None
        and states[name].status is StepStatus.COMPLETED
        and states[name].undone_error is None
    ]
    return max(left, key=lambda step: states[step.name].completed_seq, default=None)


def _create(draft: Draft, step: Step) -> None:
    how = compensation_of(step)
    scope = draft.scope(step)
    scope.ancestors = step.ancestors | {step.name}
    scope.error = draft.state.failure
    rendered = draft.expressions.render(how.with_, scope)
    addressee = how.target.capability, how.target.agent
    add_task(draft, step, addressee, rendered, None, COMPENSATION, how.timeout)


def compensation_of(step: Step) -> Compensation:
    """How a step is undone; it must say so."""
    assert step.compensate is not None
    return step.compensate


def bounds_of(step: Step, task: TaskState) -> Timeouts:
    """The bounds of a task's time: its step's, or its step's compensation's."""
    return step.timeout if task.member != COMPENSATION else compensation_of(step).timeout


def policy_of(step: Step, task: TaskState) -> RetryPolicy:
    """The retry policy of a task: its step's, or its step's compensation's."""
    return step.retry if task.member != COMPENSATION else compensation_of(step).retry


def compensated(draft: Draft, task: TaskState, output: Json, usage: Json | None) -> None:
    """The step is undone; `ending.conclude` goes on with the next one."""
    draft.emit(ev.TaskCompleted(task.task_id, task.attempt, output, ends_step=False, usage=usage))
    draft.emit(ev.StepCompensated(task.step))


def uncompensated(draft: Draft, task: TaskState, error: ErrorInfo) -> None:
    """No further attempt to undo the step: that is noted, and the next one follows."""
    draft.emit(ev.CompensationFailed(task.step, error.error_class, error.message))
