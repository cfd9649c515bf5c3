"""What a matching rule is: one key of a step's `match`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opscore.core.expressions import (
    AgentView,
    ExpressionFailed,
    Expressions,
    ExpressionScope,
    SessionView,
    StepView,
)
from opscore.core.record import record
from opscore.core.types import ErrorInfo, Json

if TYPE_CHECKING:
    from opscore.core.reading import Reader


ReadRule = Callable[["Reader", object, str, ExpressionScope], object]
"""(reader, what stands at the key, its pointer, the step's scope) → a tree.

Expressions in it are evaluated when a task is made; what is refused is noted.
"""


def whoever(_value: Any, _agent: AgentView) -> bool:
    """Every capable agent may take the task."""
    return True


def no_complaint(_value: Any) -> str | None:
    """What was read is never wrong."""
    return None


def unsaid(_value: Any) -> str:
    """A rule that excludes nobody need not be told."""
    return ""


@record
class Rule:
    """One matching rule. A new one is a file in this folder and an entry in its registry.

    `schema` is the JSON Schema of what templates write at `key`; `complaint` says what is wrong
    with the tree once its expressions are evaluated. `fits`: whether an agent may take the task at
    all, by its registration: not by its state and free slots, which change with every task; `words`
    say what such an agent has. `rank`: agents of the lowest number come first.
    """

    key: str
    schema: Mapping[str, Any]
    read: ReadRule
    complaint: Callable[[Any], str | None] = no_complaint
    fits: Callable[[Any, AgentView], bool] = whoever
    words: Callable[[Any], str] = unsaid
    rank: Callable[[Any, AgentView, Expressions], float] | None = None


@dataclass(frozen=True, slots=True)
class AgentScope:
    """The names that an expression about an agent may use: `agent`, and no other."""

    agent: AgentView
    input: Json = b"null"
    item: Json | None = None
    index: int | None = None
    error: ErrorInfo | None = None
    previous: Json | None = None
    ancestors: frozenset[str] = frozenset()

    @property
    def session(self) -> SessionView:
        """Not in scope; the check of the template has seen to that."""
        raise ExpressionFailed("'session' is not known here")

    def step(self, name: str) -> StepView | None:
        """No step is in scope."""
        return None
