"""A parsed template: an immutable, validated graph of steps.

The records here are what the decider reads. `core.parsing.parse` turns a plain tree (YAML or JSON)
into them, or says every mistake at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opscore.core.errors import Fault
from opscore.core.types import SECOND, ErrorInfo, Json, Micros, When

if TYPE_CHECKING:
    from opscore.core.kinds.kind import Kind
    from opscore.core.progress import Draft
    from opscore.core.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Expression:
    """A string that is one `${{ … }}`: its value keeps its type."""

    text: str


@dataclass(frozen=True, slots=True)
class Interpolated:
    """A string with expressions inside: literal parts and expressions in turn."""

    parts: tuple[str | Expression, ...]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Value:
    """A JSON tree whose strings may be `Expression` or `Interpolated`.

    `dynamic` is False when the tree holds no expression. Hashable by identity, so that a renderer
    may cache what it made of it.
    """

    tree: object
    dynamic: bool


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon a failed task is tried again. The budget counts failures.

    `per`: what holds instead for a class of errors.
    """

    max_attempts: int = 3
    backoff: str = "exponential"  # constant | linear | exponential
    initial_delay: Micros = 1 * SECOND
    max_delay: Micros = 60 * SECOND
    jitter: float = 0.2
    errors: frozenset[str] | None = None
    per: Mapping[str, RetryPolicy] = field(default_factory=dict[str, "RetryPolicy"])


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds in microseconds; None is unbounded. `heartbeat` None: the server's own lease."""

    attempt: Micros | None = None
    queue: Micros | None = None
    heartbeat: Micros | None = None
    total: Micros | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a task is for: a capability, or one agent by name.

    `match`: what it asks of those with the capability (`core.match_rules`), as canonical JSON.
    """

    capability: str | None = None
    agent: str | None = None
    match: str | None = None


@dataclass(frozen=True, slots=True)
class Child:
    """A workflow that a step runs as a session of its own. `version` None: the latest."""

    workflow: str
    version: str | None = None


Begin = Callable[["Draft", "Step", Json | None, int | None, int, ErrorInfo | None], None]
"""(draft, step, item, index, number of the member, the error it is for): begins a member's work.

May raise ExpressionFailed.
"""


@dataclass(frozen=True, slots=True)
class FallbackMember:
    """One member of a fallback chain: another target, a workflow, or a constant or computed value.

    `with_` None: the step's own. `match`: its own, if it has one. `begin` None: there is no work.
    """

    target: Target | None = None
    value: Value | None = None
    with_: Value | None = None
    child: Child | None = None
    match: Value | None = None
    begin: Begin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Compensation:
    """How what a step did is undone when its session does not complete."""

    target: Target
    with_: Value
    retry: RetryPolicy
    timeout: Timeouts


@dataclass(frozen=True, slots=True)
class Repeat:
    """Do a step's work again `until` a condition on its output holds, `max` times at most."""

    until: str
    max: int


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `limit` attempts in flight of all tasks with this key in the namespace.

    Of a template: at most so many sessions that have not ended.
    """

    key: Value
    limit: int
    on_full: str


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` attempts (or sessions) begun in `per`, by all with this key in the namespace."""

    key: Value
    limit: int
    per: Micros


@dataclass(frozen=True, slots=True)
class Step:
    """A node of the graph. `work` is what its kind's reader made of the kind's key.

    `collect`: under `foreach`, an item that fails does not fail the step. `child_retry`: how often
    a child session is started anew; once, unless the step itself says otherwise.
    """

    name: str
    kind: Kind
    work: object
    needs: tuple[str, ...]
    ancestors: frozenset[str]
    condition: str | None
    with_: Value
    foreach: Value | None
    max_parallel: int | None
    retry: RetryPolicy
    timeout: Timeouts
    fallback: tuple[FallbackMember, ...]
    priority: int | None
    labels: Mapping[str, str]
    description: str
    when: When = When.COMPLETED
    continue_on_error: bool = False
    collect: bool = False
    repeat: Repeat | None = None
    concurrency: Concurrency | None = None
    rate: Rate | None = None
    match: Value | None = None
    compensate: Compensation | None = None
    output_schema: Json | None = None
    child_retry: RetryPolicy = RetryPolicy(max_attempts=1)


@dataclass(frozen=True, slots=True)
class OnError:
    """The workflow that starts when a session ends in error."""

    workflow: str
    version: str | None
    with_: Value


@dataclass(frozen=True, slots=True)
class Template:
    """An immutable, versioned workflow definition.

    `order` is a topological order of the step names; `dependents` maps a step to those that need
    it; `env` names what it reads of the server's environment, `children` the workflows that its
    steps run; `source` is the canonical JSON of what the user wrote; `digest` its SHA-256 in hex.
    `warnings` are no mistakes, but somebody should look at them.
    """

    name: str
    version: str
    description: str
    input_schema: Json | None
    steps: Mapping[str, Step]
    order: tuple[str, ...]
    dependents: Mapping[str, tuple[str, ...]]
    output: Value | None
    on_error: OnError | None
    priority: int | None
    timeout: Timeouts
    labels: Mapping[str, str]
    source: Json
    digest: str
    env: tuple[str, ...] = ()
    children: tuple[Child, ...] = ()
    roots: tuple[str, ...] = field(default=())
    schedule: Schedule | None = None
    concurrency: Concurrency | None = None
    rate: Rate | None = None
    warnings: tuple[Fault, ...] = ()
