"""What the decider asks of an expression language. CEL stands behind it (`opscore.expressions`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opscore.core.record import record
from opscore.core.template import Value
from opscore.core.types import ErrorInfo, Json, StepStatus


class ExpressionFailed(Exception):
    """An expression could not be evaluated; the message names the expression and the reason.

    `error_class` is `expression`, or `expression_limit` when a bound on its cost stopped it.
    """

    error_class = "expression"

    def __init__(self, message: str, error_class: str | None = None) -> None:
        super().__init__(message)
        if error_class is not None:
            self.error_class = error_class


@dataclass(frozen=True, slots=True)
class ExpressionScope:
    """What an expression at one place of a template may mention, known before anything runs.

    `names` are the roots in scope (`input`, `steps`, …), `steps` the steps whose output may be
    read there, and `all_steps` every step of the template, to tell a typing mistake from a step
    that is not an ancestor; `env` what the template may read of the server's environment.
    """

    names: frozenset[str]
    steps: frozenset[str] = frozenset()
    all_steps: frozenset[str] = frozenset()
    env: frozenset[str] = frozenset()


@record
class StepView:
    """What expressions see of an earlier step: `steps.NAME.output`, `.status`, `.error`."""

    status: StepStatus
    output: Json | None
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class SessionView:
    """What expressions see of the session: `session.id`, `session.context`, …"""

    id: str
    workflow: str
    version: str
    priority: int
    labels: Mapping[str, str]
    context: Json
    env: Mapping[str, str]


@record
class AgentView:
    """What matching rules see of an agent: its registration, and what its process is at just now.

    `free`: how many more attempts that process takes.
    """

    name: str
    version: str
    labels: Mapping[str, str]
    metadata: Mapping[str, Any]
    state: str = "unknown"
    free: int = 0


class Scope(Protocol):
    """The names an expression may use. JSON stays encoded until something needs it decoded."""

    @property
    def input(self) -> Json: ...
    @property
    def item(self) -> Json | None: ...
    @property
    def index(self) -> int | None: ...
    @property
    def previous(self) -> Json | None: ...
    @property
    def error(self) -> ErrorInfo | None: ...
    @property
    def agent(self) -> AgentView | None: ...
    @property
    def session(self) -> SessionView: ...
    def step(self, name: str) -> StepView | None:
        """The step of that name if it is an ancestor, else None."""
        ...

    @property
    def ancestors(self) -> frozenset[str]: ...


class Expressions(Protocol):
    """Evaluates what templates hold. Every method may raise `ExpressionFailed`."""

    def render(self, value: Value, scope: Scope) -> Json:
        """Encode the tree with its expressions replaced by their values."""
        ...

    def condition(self, text: str, scope: Scope) -> bool:
        """Evaluate a boolean expression; any other type is a failure."""
        ...

    def items(self, value: Value, scope: Scope) -> Sequence[Json]:
        """Evaluate to a list and encode each element; any other type is a failure.

        A map gives `{key, value}` for each of its keys, in the order of the keys.
        """
        ...

    def join(self, outputs: Sequence[Json]) -> Json:
        """One JSON array of already encoded values."""
        ...

    def outcome(self, output: Json, error: ErrorInfo | None) -> Json:
        """One item's outcome: `{status, output}`, or `{status, error: {class, message}}`."""
        ...

    def complaint(self, schema: Json, document: Json) -> str | None:
        """Why a document does not fit a JSON Schema of the template, or None."""
        ...
