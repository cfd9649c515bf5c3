"""A value: computed when the step starts, by no agent."""

from __future__ import annotations

from collections.abc import Mapping

from opscore.core import events as ev
from opscore.core.expressions import ExpressionFailed, ExpressionScope
from opscore.core.kinds.kind import Kind
from opscore.core.progress import Draft, compute
from opscore.core.reading import Reader
from opscore.core.template import Step, Value
from opscore.core.types import ErrorInfo, Json


def _read(reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope) -> Value:
    return reader.value(node["value"], f"{where}/value", scope)


def _start(draft: Draft, step: Step) -> None:
    draft.emit(ev.StepCompleted(step.name, _computed(draft, step)))


def _computed(draft: Draft, step: Step) -> Json:
    """The value; under `foreach` the list of the items' values."""
    value = step.work
    assert isinstance(value, Value)
    if step.foreach is None:
        return compute(draft, step, value, draft.scope(step))
    items = draft.expressions.items(step.foreach, draft.scope(step))
    return draft.expressions.join(
        [_of_item(draft, step, value, item, index) for index, item in enumerate(items)]
    )


def _of_item(draft: Draft, step: Step, value: Value, item: Json, index: int) -> Json:
    scope = draft.scope(step, item, index)
    if not step.collect:
        return compute(draft, step, value, scope)
    try:
        return draft.expressions.outcome(compute(draft, step, value, scope), None)
    except ExpressionFailed as failure:
        error = ErrorInfo(failure.error_class, str(failure))
        return draft.expressions.outcome(b"null", error)


VALUE = Kind(
    name="value",
    keys=("value",),
    modifiers=frozenset({"foreach", "maxParallel", "failures", "output"}),
    why_not="a step with 'value' is computed, no agent runs it",
    read=_read,
    start=_start,
)
