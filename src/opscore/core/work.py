"""What follows when a step's work is done or given up, whoever did it: a task or a child session."""

from __future__ import annotations

from opscore.core import events as ev
from opscore.core.expressions import ExpressionFailed
from opscore.core.progress import Draft, compute, fail_work, go_on
from opscore.core.record import record
from opscore.core.template import FallbackMember, Step
from opscore.core.types import ErrorInfo, Json


@record
class Place:
    """Whose work it is: a step's, or one of its items', and of which member of the chain.

    `task_id`: the task that did it, if one did.
    """

    step: Step
    index: int | None
    member: int
    task_id: str | None = None


def ends_step(draft: Draft, step: Step, output: Json) -> bool:
    """Whether this output is the last that the step waits for. Raises ExpressionFailed."""
    state = draft.state.steps[step.name]
    if state.items is not None:
        return state.done + 1 == len(state.items)
    return step.repeat is None or _is_last(draft, step, output)


def _is_last(draft: Draft, step: Step, output: Json) -> bool:
    """Whether a `repeat` is done: `until` holds for this output, or `max` is reached."""
    assert step.repeat is not None
    scope = draft.scope(step)
    scope.previous = output
    done = draft.expressions.condition(step.repeat.until, scope)
    return done or draft.state.steps[step.name].iteration + 1 >= step.repeat.max


def ends_or_fails(draft: Draft, step: Step, output: Json) -> tuple[bool, ExpressionFailed | None]:
    """As `ends_step`; an expression that fails is given back."""
    try:
        return ends_step(draft, step, output), None
    except ExpressionFailed as failure:
        return False, failure


def work_done(draft: Draft, step: Step, ends: bool, failure: ExpressionFailed | None) -> None:
    """The event that work was done is emitted: start what follows."""
    if failure is not None:
        fail_work(draft, step, None, ErrorInfo(failure.error_class, str(failure)))
        return
    if step.repeat is not None and not ends:
        draft.emit(ev.StepIterated(step.name, draft.state.steps[step.name].iteration))
    go_on(draft, step)


def give_up_work(draft: Draft, place: Place, error: ErrorInfo) -> None:
    """No further attempt: the next fallback follows, or the step or its item fails."""
    if place.member >= len(place.step.fallback):
        fail_work(draft, place.step, place.index, error)
        return
    try:
        _fall_back(draft, place, error)
    except ExpressionFailed as failure:
        told = ErrorInfo(failure.error_class, str(failure))
        fail_work(draft, place.step, place.index, told)


def _fall_back(draft: Draft, place: Place, error: ErrorInfo) -> None:
    step, index = place.step, place.index
    items = draft.state.steps[step.name].items
    item = items[index] if items is not None and index is not None else None
    chosen, member = step.fallback[place.member], place.member + 1
    if chosen.begin is not None:
        chosen.begin(draft, step, item, index, member, error)
    else:
        _value(draft, place, chosen, item, error)


def _value(
    draft: Draft, place: Place, chosen: FallbackMember, item: Json | None, error: ErrorInfo
) -> None:
    step, member = place.step, place.member + 1
    assert chosen.value is not None
    scope = draft.scope(step, item, place.index)
    scope.error = error
    output = compute(draft, step, chosen.value, scope)
    ends = ends_step(draft, step, output)
    if place.task_id is not None:
        draft.emit(ev.FallbackValued(place.task_id, member, output, ends))
    else:
        draft.emit(ev.ItemValued(step.name, place.index, member, output, ends))
    work_done(draft, step, ends, None)
