"""What steps that wait have in common: they hold nothing but a row that time looks at."""

from __future__ import annotations

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.progress import Draft, Refused, fail_work, step_ended
from opscore.core.template import Step
from opscore.core.types import ErrorInfo, Json, StepStatus


def timer_due(draft: Draft, c: cmd.TimerDue) -> Refused | None:
    """The time until which a step waits has come; what that means is its kind's business."""
    state, step = draft.state, draft.state.steps.get(c.step)
    if state.paused_at is not None or step is None or step.status is not StepStatus.WAITING:
        return Refused("conflict", f"step {c.step} of {state.session_id} has no timer running")
    if step.due is None or step.due > draft.now:
        return Refused("conflict", f"step {c.step} of {state.session_id} is not due yet")
    defined = draft.template.steps[c.step]
    assert defined.kind.due is not None
    defined.kind.due(draft, defined)
    return None


def complete_wait(draft: Draft, step: Step, output: Json) -> None:
    """What the step waited for has come."""
    draft.emit(ev.StepCompleted(step.name, output))
    step_ended(draft, step.name)


def fail_wait(draft: Draft, step: Step, error_class: str, message: str) -> None:
    """What the step waited for will not come."""
    fail_work(draft, step, None, ErrorInfo(error_class, message))
