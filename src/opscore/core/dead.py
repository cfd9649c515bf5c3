"""Dead letters: the tasks given up for good, which somebody may still want done."""

from __future__ import annotations

from collections.abc import Iterator

from opscore.core.progress import Draft
from opscore.core.state import StepState
from opscore.core.types import COMPENSATION, StepStatus, TaskStatus


def dead_letters(draft: Draft) -> tuple[str, ...]:
    """The tasks that a retry by hand would run again, of a session that ends now.

    Of a session in error the last task of each place that its failed steps still miss; of any, the
    compensations that failed. A failure that was allowed or collected is no dead letter.
    """
    stopping = draft.state.stopping
    assert stopping is not None
    found: list[str] = []
    for name, step in draft.steps():
        if step.undone_error is not None:
            found += list(_last_failed(draft, step, undoing=True))
        elif not stopping.cancelled and _missing(draft, name, step):
            found += _last_failed(draft, step, undoing=False)
    return tuple(found)


def _missing(draft: Draft, name: str, step: StepState) -> bool:
    if step.status is StepStatus.FAILED:
        return not draft.template.steps[name].continue_on_error
    # One that is still open is cancelled by the session's end.
    return step.status in (StepStatus.CANCELLED, StepStatus.RUNNING)


def _last_failed(draft: Draft, step: StepState, *, undoing: bool) -> Iterator[str]:
    seen: set[int | None] = set()
    for task_id in reversed(step.task_ids):
        task = draft.state.tasks[task_id]
        if (task.member == COMPENSATION) is not undoing or task.index in seen:
            continue
        seen.add(task.index)
        done = task.index is not None and not undoing and step.outputs[task.index] is not None
        if task.status is TaskStatus.FAILED and not done:
            yield task_id
