"""Plans: what a template would do with an input, as far as the input tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from opscore.core.errors import Fault, Invalid, Refusal
from opscore.core.expressions import ExpressionFailed, SessionView
from opscore.core.plan import Given, Plan, PlannedStep, plan
from opscore.core.template import Expression, Step, Template, Value
from opscore.core.types import SECOND, ErrorInfo, Json, Micros
from opscore.documents import formatted
from opscore.expressions import CelExpressions
from opscore.json_schema import validate
from opscore.templates import read_template


@dataclass(frozen=True, slots=True)
class _InputScope:
    """The only thing that is known of a session before it starts: its input."""

    input: Json
    item: Json | None = None
    index: int | None = None
    error: ErrorInfo | None = None
    previous: Json | None = None
    agent: None = None
    ancestors: frozenset[str] = frozenset()

    @property
    def session(self) -> SessionView:
        raise ExpressionFailed("the session has not started")

    def step(self, name: str) -> None:
        return None


def plan_template(
    source: str | bytes | object, given: object = None, *, name: str = "template"
) -> dict[str, Any]:
    """The plan of a template as the API answers it; `given` is the input, None for none.

    Raises `Invalid` with every mistake of the template, or with what the input does not fit.
    """
    return as_json(plan_of(read_template(source, name=name), given))


class Unplannable(Exception):
    """The template or the input is not in order; `lines` say what and where."""

    def __init__(self, refusal: Refusal, name: str) -> None:
        self.lines = formatted(refusal.faults, name) or [f"{name}: {refusal.detail}"]
        super().__init__("\n".join(self.lines))


def plan_file(text: str, given: object, name: str) -> dict[str, Any]:
    """As `plan_template`, for the text of a file. Raises `Unplannable`."""
    try:
        return plan_template(text, given, name=name)
    except Refusal as refusal:
        raise Unplannable(refusal, name) from None


def plan_of(template: Template, given: object = None) -> Plan:
    """The plan of a template. Raises `Invalid` when the input does not fit its schema."""
    if given is None:
        return plan(template, {})
    encoded = msgspec.Raw(msgspec.json.encode(given))
    if template.input_schema is not None:
        faults = validate(template.input_schema, encoded)
        if faults:
            placed = [Fault(f"/input{each.pointer}", each.message) for each in faults]
            raise Invalid(f"the input does not fit: {faults[0].message}", faults=placed)
    told = _Told(encoded)
    return plan(template, {name: told.of(step) for name, step in template.steps.items()})


class _Told:
    """What an input tells of steps: expressions that mention nothing else are evaluated."""

    def __init__(self, given: Json) -> None:
        self._cel = CelExpressions()
        self._scope = _InputScope(given)

    def of(self, step: Step) -> Given:
        return Given(items=self._items(step.foreach), runs=self._runs(step.condition))

    def _runs(self, condition: str | None) -> bool | None:
        if condition is None:
            return True
        if not self._only_input(condition):
            return None
        try:
            return self._cel.condition(condition, self._scope)
        except ExpressionFailed:
            return None

    def _items(self, foreach: Value | None) -> int | None:
        if foreach is None or not isinstance(foreach.tree, Expression):
            return None
        if not self._only_input(foreach.tree.text):
            return None
        try:
            return len(self._cel.items(foreach, self._scope))
        except ExpressionFailed:
            return None

    def _only_input(self, text: str) -> bool:
        shape = self._cel.shape(text)
        return shape is not None and all(each.path[0] == "input" for each in shape.mentions)


def as_json(found: Plan) -> dict[str, Any]:
    """The plan as JSON; times are seconds."""
    return {
        "workflow": found.workflow,
        "version": found.version,
        "waves": [list(wave) for wave in found.waves],
        "attempts": found.attempts,
        "seconds": _seconds(found.time),
        "longestPath": list(found.path),
        "limits": list(found.limits),
        "boundedByTimeout": found.bounded_by is not None,
        "steps": [_step_as_json(step) for step in found.steps],
    }


def _step_as_json(step: PlannedStep) -> dict[str, Any]:
    return {
        "name": step.name,
        "kind": step.kind,
        "target": step.target or None,
        "needs": list(step.needs),
        "wave": step.wave,
        "if": step.condition,
        "runs": step.runs,
        "items": step.items,
        "maxParallel": step.max_parallel,
        "attempts": step.attempts,
        "seconds": _seconds(step.time),
        "unbounded": list(step.why),
    }


def _seconds(time: Micros | None) -> float | None:
    return None if time is None else time / SECOND
