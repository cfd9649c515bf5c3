"""What steps that wait have in common: they hold nothing but a row that time looks at."""

from __future__ import annotations

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.progress import Draft, Refused, out_of_time, step_ended
from opscore.core.template import Step
from opscore.core.types import ErrorInfo, Json, StepStatus
from opscore.core.work import Place, give_up_work


def timer_due(draft: Draft, c: cmd.TimerDue) -> Refused | None:
    """The time has come until which a step waits, which is its kind's business, or may take."""
    state, step = draft.state, draft.state.steps.get(c.step)
    if step is None or not state.clocked(step):
        return Refused("conflict", f"step {c.step} of {state.session_id} has no timer running")
    if step.due is None or step.due > draft.now:
        return Refused("conflict", f"step {c.step} of {state.session_id} is not due yet")
    defined = draft.template.steps[c.step]
    if step.status is StepStatus.RUNNING:
        out_of_time(draft, defined)
        return None
    assert defined.kind.due is not None
    defined.kind.due(draft, defined)
    return None


def complete_wait(draft: Draft, step: Step, output: Json) -> None:
    """What the step waited for has come."""
    draft.emit(ev.StepCompleted(step.name, output))
    step_ended(draft, step.name)


def fail_wait(draft: Draft, step: Step, error_class: str, message: str) -> None:
    """What the step waited for will not come: its fallback follows, or it fails."""
    if step.fallback:
        draft.emit(ev.WaitFailed(step.name, error_class, message))
    give_up_work(draft, Place(step, None, 0), ErrorInfo(error_class, message))
