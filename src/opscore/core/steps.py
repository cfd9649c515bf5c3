"""The reader of one step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from opscore.core.expressions import ExpressionScope
from opscore.core.kinds import KIND_KEYS, KIND_OF, MODIFIERS
from opscore.core.kinds.kind import Kind
from opscore.core.kinds.task import TASK, read_target
from opscore.core.policies import (
    RetryKeys,
    TimeoutKeys,
    make_retry,
    read_retry,
    read_timeout,
)
from opscore.core.reading import NOT_YET, Reader
from opscore.core.template import (
    Expression,
    FallbackMember,
    RetryPolicy,
    Step,
    Timeouts,
    Value,
)
from opscore.core.trees import is_list, kind_of, pointer

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

KINDS_NOT_YET = ("workflow", "wait", "signal", "approval")
MEMBERS = ("capability", "agent", "value")
"""What a member of a fallback chain can be."""

STEP_KEYS = (*KIND_KEYS, "needs", "if", "when", *MODIFIERS, "labels", "description")
STEP_KEYS_NOT_YET = (
    *KINDS_NOT_YET,
    *("repeat", "compensate", "continueOnError", "concurrency", "rate", "match", "output"),
)
MAX_FALLBACKS = 20
MAX_ITEMS = 10_000
SESSION_NAMES = frozenset({"input", "session", "steps"})
ITEM_NAMES = frozenset({"item", "index"})
NOTHING = Value({}, dynamic=False)


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

    def scope(self, name: str, more: frozenset[str] = frozenset()) -> ExpressionScope:
        """The scope of a step's expressions.

        A step whose `needs` hold a mistake may mention every step: one fault is enough.
        """
        every = frozenset(self.needs)
        known = every if name in self.unclear else self.ancestors.get(name, every)
        return ExpressionScope(SESSION_NAMES | more, known, every)


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
    reader.known_keys(node, where, STEP_KEYS, STEP_KEYS_NOT_YET)
    kind = _read_kind(reader, node, where, bound=name in around.bound)
    per_item = ITEM_NAMES if "foreach" in node else frozenset[str]()
    scope = around.scope(name, per_item)
    _check_words(reader, node, where)
    return Step(
        name=name,
        kind=kind,
        work=kind.read(reader, node, where, scope),
        needs=around.needs[name],
        ancestors=around.ancestors.get(name, frozenset()),
        condition=reader.condition(node["if"], f"{where}/if", around.scope(name))
        if "if" in node
        else None,
        with_=reader.arguments(node["with"], f"{where}/with", scope) if "with" in node else NOTHING,
        foreach=_read_foreach(reader, node, where, around.scope(name)),
        max_parallel=_read_max_parallel(reader, node, where),
        retry=_read_retry(reader, node, where, around.defaults),
        timeout=_read_timeout(reader, node, where, around.defaults),
        fallback=_read_fallback(reader, node, where, around.scope(name, per_item | {"error"})),
        priority=read_priority(reader, node, where, around.defaults.priority),
        labels={**around.defaults.labels, **reader.labels(node["labels"], f"{where}/labels")}
        if "labels" in node
        else around.defaults.labels,
        description=reader.text(node["description"], f"{where}/description", "description") or ""
        if "description" in node
        else "",
    )


def _read_kind(reader: Reader, node: Mapping[str, object], where: str, *, bound: bool) -> Kind:
    """The kind of a step. One that names none, or is refused, is read as a task."""
    keys = [key for key in (*KIND_KEYS, *KINDS_NOT_YET) if key in node]
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


def _check_words(reader: Reader, node: Mapping[str, object], where: str) -> None:
    # These keys exist in the language; so far only the word that names today's behaviour is taken.
    for key, only in (("when", "completed"), ("failures", "fail")):
        if key in node and node[key] != only:
            shown = node[key] if isinstance(node[key], str) else kind_of(node[key])
            hint = f"leave it out, or write '{key}: {only}'"
            reader.fault(where + pointer(key), f"'{key}: {shown}' {NOT_YET}", hint)


def _read_foreach(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Value | None:
    if "foreach" not in node:
        return None
    where = f"{where}/foreach"
    value = reader.value(node["foreach"], where, scope)
    if is_list(value.tree):
        if len(value.tree) > MAX_ITEMS:
            reader.fault(where, f"foreach over more than {MAX_ITEMS} written items")
    elif not isinstance(value.tree, Expression):
        hint = 'for example "${{ input.files }}", in quotes'
        message = f"foreach must be a list or one expression, not {kind_of(node['foreach'])}"
        reader.fault(where, message, hint)
    return value


def _read_max_parallel(reader: Reader, node: Mapping[str, object], where: str) -> int | None:
    if "maxParallel" not in node:
        return None
    where = f"{where}/maxParallel"
    if "foreach" not in node:
        reader.fault(where, "'maxParallel' needs 'foreach'", "add foreach, or leave it out")
    return reader.integer(node["maxParallel"], where, "maxParallel", 1)


def _read_retry(
    reader: Reader, node: Mapping[str, object], where: str, defaults: Defaults
) -> RetryPolicy:
    where = f"{where}/retry"
    own = read_retry(reader, node["retry"], where) if "retry" in node else RetryKeys()
    if not own:
        return RetryPolicy(**defaults.retry)
    return make_retry(reader, defaults.retry, own, where)


def _read_timeout(
    reader: Reader, node: Mapping[str, object], where: str, defaults: Defaults
) -> Timeouts:
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


def _read_fallback(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> tuple[FallbackMember, ...]:
    if "fallback" not in node:
        return ()
    where, members = f"{where}/fallback", node["fallback"]
    if not is_list(members) or not members:
        hint = "for example [{agent: careful-measurer}, {value: null}]"
        reader.fault(where, "fallback must be a list of members", hint)
        return ()
    if len(members) > MAX_FALLBACKS:
        reader.fault(where, f"more than {MAX_FALLBACKS} fallbacks")
    read = [
        _read_member(reader, member, f"{where}/{at}", scope) for at, member in enumerate(members)
    ]
    for at, member in enumerate(read[:-1]):
        if member is not None and member.value is not None:
            reader.fault(f"{where}/{at + 1}", "no fallback after a value is ever reached")
            break
    return tuple(member for member in read if member is not None)


def _read_member(
    reader: Reader, member: object, where: str, scope: ExpressionScope
) -> FallbackMember | None:
    node = reader.mapping(member, where, "a fallback")
    if node is None:
        return None
    reader.known_keys(node, where, MEMBERS, KINDS_NOT_YET)
    kinds = [kind for kind in MEMBERS if kind in node]
    if len(kinds) > 1 or not any(kind in node for kind in (*MEMBERS, *KINDS_NOT_YET)):
        reader.fault(where, f"a fallback is exactly one of {', '.join(MEMBERS)}")
        return None
    if kinds == ["value"]:
        return FallbackMember(value=reader.value(node["value"], f"{where}/value", scope))
    return FallbackMember(target=read_target(reader, node, where, scope))
