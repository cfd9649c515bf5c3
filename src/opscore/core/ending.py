"""How a session ends: completed, or wound down step by step.

Winding down: what runs drains; of a failing session the steps run whose `when` is `failed` or
`always`; what completed is undone; then it ends.
"""

from __future__ import annotations

from opscore.core import events as ev
from opscore.core.compensation import compensate_next
from opscore.core.dead import dead_letters
from opscore.core.expressions import ExpressionFailed
from opscore.core.progress import Draft, start_steps, stop
from opscore.core.scope import StepScope
from opscore.core.template import Value
from opscore.core.types import (
    CANCEL_GRACE,
    STEP_ENDED,
    ErrorInfo,
    Json,
    Phase,
    StepStatus,
    When,
)

NO_OUTPUT = Value(None, dynamic=False)
"""What a template without `output` gives. Rendered like any other: an event takes no plain bytes."""


def conclude(draft: Draft) -> None:
    """End the session if it can end now, or go on to the next phase of its winding down."""
    state = draft.state
    if state.finished_at is not None or not state.quiet:
        return
    if state.stopping is not None:
        _wind_down(draft)
    elif _all_steps_ended(draft):
        _complete(draft)


def _all_steps_ended(draft: Draft) -> bool:
    steps = draft.state.steps
    for name in reversed(draft.template.order):
        step = steps.get(name)
        if step is None or step.status not in STEP_ENDED:
            return False
    return True


def _complete(draft: Draft) -> None:
    try:
        output = draft.expressions.render(draft.template.output or NO_OUTPUT, _whole_scope(draft))
    except ExpressionFailed as failure:
        error = ErrorInfo(failure.error_class, f"output: {failure}")
        stop(draft, cancelled=False, error=error, grace=CANCEL_GRACE, actor="system:opscore")
        _wind_down(draft)
        return
    draft.emit(ev.SessionCompleted(output))


def _whole_scope(draft: Draft, error: ErrorInfo | None = None) -> StepScope:
    every = frozenset(draft.template.order)
    return StepScope(draft.template, draft.state, draft.expressions, every, error=error)


def _wind_down(draft: Draft) -> None:
    """Nothing is under way: on to the next phase that has something to do, or to the end."""
    stopping = draft.state.stopping
    assert stopping is not None
    # One that was never let in has nothing to handle; what it did before it was retried is undone.
    if stopping.phase is Phase.DRAINING and not stopping.cancelled and not draft.state.held:
        _handle(draft)
    if _handling(draft) and not _all_steps_ended(draft):
        return
    if not compensate_next(draft):
        _end(draft)


def _handling(draft: Draft) -> bool:
    stopping = draft.state.stopping
    return stopping is not None and stopping.phase is Phase.HANDLING


def _handle(draft: Draft) -> None:
    """Skip what cannot start any more; start the steps that are there for a failure."""
    steps, state = draft.template.steps, draft.state
    pending = [n for n in draft.template.order if state.steps[n].status is StepStatus.PENDING]
    late = [name for name in pending if steps[name].when is not When.COMPLETED]
    if late:
        draft.emit(ev.SessionHandling())
    reason = _why_skipped(draft)
    for name in pending:
        if steps[name].when is When.COMPLETED:
            draft.emit(ev.StepSkipped(name, reason))
    start_steps(draft, late)


def _why_skipped(draft: Draft) -> str:
    assert draft.state.stopping is not None
    for name in draft.template.order:
        allowed = draft.template.steps[name].continue_on_error
        if draft.state.steps[name].status is StepStatus.FAILED and not allowed:
            return f"step {name} failed"
    return draft.state.stopping.error.message


def _end(draft: Draft) -> None:
    stopping = draft.state.stopping
    assert stopping is not None
    error = ErrorInfo(stopping.error.error_class, _told(draft, stopping.error.message))
    if stopping.cancelled:
        draft.emit(ev.SessionCancelled(error.message, dead_letters(draft)))
    else:
        _fail(draft, error)


def _told(draft: Draft, message: str) -> str:
    """The first failure, and what failed after it."""
    parts = [message]
    for name, step in draft.steps():
        allowed = draft.template.steps[name].continue_on_error
        if step.late and step.error is not None and not allowed:
            parts.append(f"then step {name} failed: {step.error.message}")
        if step.undone_error is not None:
            parts.append(f"step {name} could not be undone: {step.undone_error.message}")
    return "; ".join(parts)


def _fail(draft: Draft, error: ErrorInfo) -> None:
    given: Json | None = None
    if draft.template.on_error is not None and not _told_before(draft):
        try:
            scope = _whole_scope(draft, error)
            given = draft.expressions.render(draft.template.on_error.with_, scope)
        except ExpressionFailed as failure:
            error = ErrorInfo(error.error_class, f"{error.message} (and onError: {failure})")
    dead = dead_letters(draft)
    draft.emit(ev.SessionFailed(error.error_class, error.message, given, dead))


def _told_before(draft: Draft) -> bool:
    """A session reopened for its compensations ends a second time; `onError` was started then."""
    stopping = draft.state.stopping
    return stopping is not None and stopping.reopened
