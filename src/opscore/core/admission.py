"""Sessions of templates with limits: they are held until there is room, and take it until they end."""

from __future__ import annotations

from dataclasses import replace

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.attempts import place_of
from opscore.core.expressions import ExpressionFailed
from opscore.core.flow import terms_of
from opscore.core.limits import Terms
from opscore.core.progress import Draft, Refused, advance, bound, start_steps, stop
from opscore.core.retry import REJECTED
from opscore.core.scope import StepScope
from opscore.core.types import CANCEL_GRACE, SESSION_ENDED, ErrorInfo, StepStatus, ready_order
from opscore.core.work import give_up_work


def begin(draft: Draft) -> None:
    """Start the first steps, or wait for room under the limits of the template."""
    template = draft.template
    if template.concurrency is None and template.rate is None:
        start_steps(draft, template.roots)
        return
    scope = StepScope(template, draft.state, draft.expressions)
    try:
        terms = terms_of(template.concurrency, template.rate, draft.expressions, scope)
    except ExpressionFailed as failure:
        error = ErrorInfo(failure.error_class, str(failure))
        stop(draft, cancelled=False, error=error, grace=CANCEL_GRACE, actor="system:opscore")
        return
    assert terms is not None
    _hold(draft, replace(terms, sessions=True))


def begin_again(draft: Draft, resumed: tuple[str, ...], *, first: bool) -> None:
    """As `begin`, for a session that had ended. `first`: before it was ever let in.

    A rate counts starts, of which this is none otherwise.
    """
    terms = draft.state.terms
    if terms is not None and not first:
        terms = replace(terms, rate=None)
    if terms is not None and (terms.concurrency is not None or terms.rate is not None):
        _hold(draft, terms, resumed)
    else:
        _go_on(draft, resumed)


def _hold(draft: Draft, terms: Terms, resumed: tuple[str, ...] = ()) -> None:
    order = ready_order(draft.now, draft.state.priority)
    draft.emit(ev.SessionHeld(terms, order, resumed))


def admit(draft: Draft, _c: cmd.Admit) -> Refused | None:
    """There is room now."""
    state = draft.state
    if not state.held or state.status in SESSION_ENDED or state.stopping is not None:
        return Refused("conflict", f"session {state.session_id} does not wait for room")
    resumed = state.resumed
    draft.emit(ev.SessionAdmitted())
    _go_on(draft, resumed)
    return None


def _go_on(draft: Draft, resumed: tuple[str, ...]) -> None:
    for name in draft.template.order:
        step = draft.state.steps.get(name)
        if step is not None and step.status is StepStatus.RUNNING:
            bound(draft, draft.template.steps[name])
    for task_id in resumed:
        task = draft.state.tasks[task_id]
        assert task.error is not None
        give_up_work(draft, place_of(draft, task), task.error)
    start_steps(draft, draft.template.order)
    advance(draft)


def reject(draft: Draft, c: cmd.RejectSession) -> Refused | None:
    """There is no room, and the session does not wait for any."""
    state = draft.state
    if not state.held or state.status in SESSION_ENDED or state.stopping is not None:
        return Refused("conflict", f"session {state.session_id} does not wait for room")
    error = ErrorInfo(REJECTED, c.why)
    stop(draft, cancelled=False, error=error, grace=CANCEL_GRACE, actor="system:opscore")
    return None
