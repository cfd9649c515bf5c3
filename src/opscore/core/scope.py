"""What the expressions of one step may see."""

from __future__ import annotations

from dataclasses import dataclass

from opscore.core.expressions import Expressions, SessionView, StepView
from opscore.core.state import SessionState, StepState
from opscore.core.template import Template
from opscore.core.types import ErrorInfo, Json, StepStatus

_NOTHING = frozenset[str]()


@dataclass(slots=True)
class StepScope:
    """The names that an expression of one step may use."""

    template: Template
    state: SessionState
    expressions: Expressions
    ancestors: frozenset[str] = _NOTHING
    item: Json | None = None
    index: int | None = None
    error: ErrorInfo | None = None
    previous: Json | None = None

    @property
    def input(self) -> Json:
        """The session's input."""
        return self.state.input

    @property
    def agent(self) -> None:
        """Which agent takes its tasks is not known to a step."""

    @property
    def session(self) -> SessionView:
        """The session's own facts."""
        s = self.state
        return SessionView(
            s.session_id, s.workflow, s.version, s.priority, s.labels, s.context, s.env
        )

    def step(self, name: str) -> StepView | None:
        """An ancestor's status and output; a `foreach` step's output is its items' outputs."""
        if name not in self.ancestors:
            return None
        step = self.state.steps[name]
        collect = self.template.steps[name].collect
        return StepView(step.status, output_of(step, self.expressions, collect), step.error)


def output_of(step: StepState, expressions: Expressions, collect: bool) -> Json | None:
    """A completed step's output: its own, or the joined outputs or outcomes of its items."""
    if step.status not in _HAS_OUTPUT:
        return None
    if step.items is None:
        return step.output
    outputs = [output for output in step.outputs if output is not None]
    if collect:
        errors = step.errors or {}
        outputs = [expressions.outcome(o, errors.get(i)) for i, o in enumerate(outputs)]
    return expressions.join(outputs)


_HAS_OUTPUT = (StepStatus.COMPLETED, StepStatus.COMPENSATED)
