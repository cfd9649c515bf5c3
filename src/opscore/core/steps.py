"""The reader of one step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from opscore.core.expressions import ExpressionScope
from opscore.core.flow import read_concurrency, read_rate
from opscore.core.kinds import KIND_KEYS, KIND_OF, MODIFIERS
from opscore.core.kinds.kind import Kind
from opscore.core.kinds.task import TASK
from opscore.core.match_rules import read_match
from opscore.core.modifiers import (
    NOTHING,
    read_compensate,
    read_failures,
    read_fallback,
    read_flag,
    read_foreach,
    read_max_parallel,
    read_output,
    read_repeat,
    read_when,
)
from opscore.core.policies import (
    RetryKeys,
    TimeoutKeys,
    make_retry,
    read_bound,
    read_retry,
    read_timeout,
)
from opscore.core.reading import Reader
from opscore.core.template import RetryPolicy, Step, Timeouts
from opscore.core.trees import pointer
from opscore.core.types import When

STEP_NAME = re.compile(r"[a-z][a-zA-Z0-9_]*")
CEL_WORDS = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ]
)
"""Reserved by the CEL specification: none can follow `steps.` in an expression."""


STEP_KEYS = (
    *KIND_KEYS,
    *("needs", "if", "when", "continueOnError", "compensate"),
    *MODIFIERS,
    *("labels", "description"),
)
SESSION_NAMES = frozenset({"input", "session", "steps"})
LOOP_NAMES = {
    "foreach": frozenset({"item", "index"}),
    "repeat": frozenset({"previous", "index"}),
}
"""The names that a loop adds to the scope of its step's work."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `defaults` lays under every step."""

    retry: RetryKeys = field(default_factory=RetryKeys)
    timeout: TimeoutKeys = field(default_factory=TimeoutKeys)
    priority: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a step's reader knows of the rest of the template."""

    defaults: Defaults
    needs: Mapping[str, tuple[str, ...]]
    ancestors: Mapping[str, frozenset[str]]
    bound: frozenset[str]
    unclear: frozenset[str] = frozenset()
    env: frozenset[str] = frozenset()

    def scope(self, name: str, more: frozenset[str] = frozenset()) -> ExpressionScope:
        """The scope of a step's expressions.

        A step whose `needs` hold a mistake may mention every step: one fault is enough.
        """
        every = frozenset(self.needs)
        known = every if name in self.unclear else self.ancestors.get(name, every)
        return ExpressionScope(SESSION_NAMES | more, known, every, self.env)

    def undoing(self, name: str) -> ExpressionScope:
        """The scope of what undoes a step: that step's own output as well, and the error."""
        scope = self.scope(name, frozenset({"error"}))
        return replace(scope, steps=scope.steps | {name})


def read_step_name(reader: Reader, name: str, where: str) -> None:
    """Step names are what expressions can spell: `steps.NAME`."""
    if len(name) > 128 or not STEP_NAME.fullmatch(name):
        hint = "begin with a small letter; then letters, digits and _"
        reader.fault(where, f"'{name[:60]}' is not a step name", hint)
    elif name in CEL_WORDS:
        hint = f"call it '{name}_step'"
        reader.fault(where, f"'{name}' is a word of the expression language", hint)


def read_step(reader: Reader, name: str, node: Mapping[str, object], around: Surroundings) -> Step:
    """One step. What is refused is noted; the record then holds a harmless default."""
    where = pointer("steps", name)
    reader.known_keys(node, where, STEP_KEYS)
    kind = _read_kind(reader, node, where, bound=name in around.bound)
    when = read_when(reader, node, where)
    own = frozenset({"error"}) if when is not When.COMPLETED else frozenset[str]()
    outer = around.scope(name, own)
    looped = own.union(*(names for key, names in LOOP_NAMES.items() if key in node))
    scope = around.scope(name, looped)
    return Step(
        name=name,
        kind=kind,
        work=kind.read(reader, node, where, scope),
        needs=around.needs[name],
        ancestors=around.ancestors.get(name, frozenset()),
        condition=reader.condition(node["if"], f"{where}/if", outer) if "if" in node else None,
        with_=reader.arguments(node["with"], f"{where}/with", scope) if "with" in node else NOTHING,
        foreach=read_foreach(reader, node, where, outer),
        max_parallel=read_max_parallel(reader, node, where),
        retry=_read_retry(reader, node, where, around.defaults),
        timeout=_read_timeout(reader, node, where, around.defaults, kind),
        fallback=read_fallback(reader, node, where, around.scope(name, looped | {"error"})),
        priority=read_priority(reader, node, where, around.defaults.priority),
        labels={**around.defaults.labels, **reader.labels(node["labels"], f"{where}/labels")}
        if "labels" in node
        else around.defaults.labels,
        description=reader.text(node["description"], f"{where}/description", "description") or ""
        if "description" in node
        else "",
        when=when,
        continue_on_error=read_flag(reader, node, where, "continueOnError"),
        collect=read_failures(reader, node, where),
        repeat=read_repeat(reader, node, where, scope),
        concurrency=read_concurrency(reader, node, where, scope),
        rate=read_rate(reader, node, where, scope),
        match=read_match(reader, node, where, scope),
        compensate=read_compensate(
            reader, node, where, around.undoing(name), around.defaults.timeout
        ),
        child_retry=_read_child_retry(reader, node, where),
        output_schema=read_output(reader, node, where),
    )


def _read_kind(reader: Reader, node: Mapping[str, object], where: str, *, bound: bool) -> Kind:
    """The kind of a step. One that names none, or is refused, is read as a task."""
    keys = [key for key in KIND_KEYS if key in node]
    if len(keys) > 1:
        known = ", ".join(KIND_KEYS)
        message = f"a step is exactly one of {known}; this one has {' and '.join(keys)}"
        reader.fault(where + pointer(keys[1]), message, "make two steps of it")
    # An unknown key is most likely the misspelt kind, and it is a fault already.
    slipped = any(key not in STEP_KEYS and not key.startswith("x-") for key in node)
    if not keys and not bound and not slipped:
        hint = f"add one of: {', '.join(KIND_KEYS)}"
        reader.fault(where, "the step does not say what it does", hint)
    kind = KIND_OF.get(keys[0], TASK) if keys else TASK
    if len(keys) == 1:
        for key in MODIFIERS:
            if key in node and key not in kind.modifiers:
                message = f"'{key}' means nothing beside '{keys[0]}'"
                reader.fault(where + pointer(key), message, kind.why_not)
    return kind


def _read_retry(
    reader: Reader, node: Mapping[str, object], where: str, defaults: Defaults
) -> RetryPolicy:
    where = f"{where}/retry"
    own = read_retry(reader, node["retry"], where) if "retry" in node else RetryKeys()
    return make_retry(reader, defaults.retry, own, where if own else "/defaults/retry")


def _read_child_retry(reader: Reader, node: Mapping[str, object], where: str) -> RetryPolicy:
    """How often a child session is started anew: its own steps have retries enough by default."""
    # What is wrong in it was told when it was read for tasks.
    silent = replace(reader, faults=[])
    own = read_retry(silent, node["retry"], where) if "retry" in node else RetryKeys()
    return make_retry(silent, RetryKeys(max_attempts=1), own, where)


def _read_timeout(
    reader: Reader, node: Mapping[str, object], where: str, defaults: Defaults, kind: Kind
) -> Timeouts:
    if kind.bounded_by is not None:
        # The others are for the tasks of its fallbacks.
        total = read_bound(reader, node, where, kind.bounded_by).total
        return replace(Timeouts(**defaults.timeout), total=total)
    own = TimeoutKeys()
    if "timeout" in node:
        own = read_timeout(reader, node["timeout"], f"{where}/timeout")
    keys: TimeoutKeys = {**defaults.timeout, **own}
    return Timeouts(**keys)


def read_priority(
    reader: Reader, node: Mapping[str, object], where: str, default: int | None = None
) -> int | None:
    """`priority`: 0 to 100, more is more urgent."""
    if "priority" not in node:
        return default
    return reader.integer(node["priority"], f"{where}/priority", "priority", 0, 100)
