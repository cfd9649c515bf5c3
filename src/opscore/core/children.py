"""The rules of child sessions: their start when it is due, and their end."""

from __future__ import annotations

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.expressions import ExpressionFailed
from opscore.core.kinds.child import add_child
from opscore.core.progress import Draft, Refused, check_output
from opscore.core.retry import is_retried, retry_delay
from opscore.core.state import ChildState
from opscore.core.types import SESSION_ENDED, STEP_ENDED, ErrorInfo, Json
from opscore.core.work import Place, ends_or_fails, give_up_work, work_done


def child_due(draft: Draft, c: cmd.ChildDue) -> Refused | None:
    """A child that is started anew has waited long enough."""
    child = draft.state.children.get(c.child_id)
    if child is None or child.due is None:
        return Refused("conflict", f"child session {c.child_id} is not scheduled")
    if child.due > draft.now:
        return Refused("conflict", f"child session {c.child_id} is not due yet")
    draft.emit(ev.ChildReleased(c.child_id, child.due))
    return None


def child_over(draft: Draft, c: cmd.ChildOver) -> Refused | None:
    """A child ended. Told a second time, or too late, it changes nothing."""
    state = draft.state
    child = state.children.get(c.child_id)
    if child is None or child.ended or child.due is not None or state.status in SESSION_ENDED:
        return None
    output, error = _checked(draft, child, c)
    if error is not None:
        _failed(draft, child, error, c.chance)
    else:
        assert output is not None
        _completed(draft, child, output)
    return None


def _checked(
    draft: Draft, child: ChildState, c: cmd.ChildOver
) -> tuple[Json | None, ErrorInfo | None]:
    """An output that does not fit the step's schema is a failure of the child."""
    if c.output is None:
        return None, c.error or ErrorInfo("error", "the child session gave no reason")
    try:
        check_output(draft, draft.template.steps[child.step], c.output)
    except ExpressionFailed as failure:
        return None, ErrorInfo(failure.error_class, str(failure))
    return c.output, None


def _completed(draft: Draft, child: ChildState, output: Json) -> None:
    step = draft.template.steps[child.step]
    ended = draft.state.steps[child.step].status in STEP_ENDED
    if ended or (child.abandoned and not draft.state.draining):
        # Its step has ended without it.
        draft.emit(ev.ChildEnded(child.child_id, None, "cancelled", "completed too late"))
        return
    ends, failure = ends_or_fails(draft, step, output)
    draft.emit(ev.ChildEnded(child.child_id, output, ends_step=ends))
    if not draft.state.draining:
        work_done(draft, step, ends, failure)


def _failed(draft: Draft, child: ChildState, error: ErrorInfo, chance: float) -> None:
    step, rendered = draft.template.steps[child.step], child.input
    draft.emit(ev.ChildEnded(child.child_id, None, error.error_class, error.message))
    if draft.state.draining or child.abandoned:
        return
    failures = child.failures + 1
    if not is_retried(step.child_retry, error, failures):
        give_up_work(draft, Place(step, child.index, child.member), error)
        return
    assert rendered is not None
    due = draft.now + retry_delay(step.child_retry, error, failures, chance)
    add_child(
        draft,
        child.step,
        child.index,
        child.member,
        child.workflow,
        child.version,
        rendered,
        failures,
        due,
    )
