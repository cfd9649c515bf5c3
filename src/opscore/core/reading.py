"""What every reader of a template shares: collecting faults, and the checks of plain values."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from opscore.core.durations import HINT as DURATION_HINT
from opscore.core.durations import parse_duration
from opscore.core.errors import Fault
from opscore.core.expressions import ExpressionScope
from opscore.core.interpolation import MAX_EXPRESSION, OPEN, expressions_in, read_value
from opscore.core.template import Expression, Interpolated, Value
from opscore.core.trees import is_list, is_map, kind_of, pointer, under
from opscore.core.types import Json, Micros

CheckExpression = Callable[[str, ExpressionScope], str | None]
"""Says what is wrong with an expression in a scope, or None."""

CheckSchema = Callable[[Mapping[str, object]], list[Fault]]
"""Says what is wrong with a JSON Schema, pointers into the schema."""

TEMPLATE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
MAX_NAME = 128
MAX_LABELS = 64


@dataclass(frozen=True, slots=True)
class SeenExpression:
    """An expression of the template and the pointer to where it stands.

    `truth`: the name of the condition that it is, if it is one.
    """

    text: str
    where: str
    truth: str = ""


@dataclass(slots=True)
class Reader:
    """Collects every fault of one template. Readers return None for what they had to refuse."""

    check_expression: CheckExpression
    check_schema: CheckSchema
    encode: Callable[[object], Json]
    faults: list[Fault] = field(default_factory=list[Fault])
    seen: list[SeenExpression] = field(default_factory=list[SeenExpression])

    def fault(self, where: str, message: str, hint: str = "", *, at_key: bool = False) -> None:
        """Note one mistake at a pointer."""
        self.faults.append(Fault(where, message, hint, at_key=at_key))

    def mapping(self, node: object, where: str, what: str) -> dict[str, object] | None:
        """The node as a mapping."""
        if is_map(node):
            return node
        self.fault(where, f"{what} must be a mapping, not {kind_of(node)}")
        return None

    def known_keys(
        self,
        node: Mapping[str, object],
        where: str,
        known: Collection[str],
    ) -> None:
        """Refuse every key that is neither known nor begins with `x-`."""
        for key in node:
            if key in known or key.startswith("x-"):
                continue
            hint = suggest(key, known) or f"known keys: {', '.join(known)}"
            self.fault(where + pointer(key), f"unknown key '{key}'", hint, at_key=True)

    def text(self, node: object, where: str, what: str, *, limit: int = 4096) -> str | None:
        """Text that holds no expression."""
        if not isinstance(node, str):
            hint = f'write it in quotes: "{node}"' if isinstance(node, bool | int | float) else ""
            self.fault(where, f"{what} must be text, not {kind_of(node)}", hint)
        elif OPEN in node:
            self.fault(where, f"{what} cannot be computed", "expressions are not allowed here")
        elif len(node) > limit:
            self.fault(where, f"{what} is longer than {limit} characters")
        else:
            return node
        return None

    def name(self, node: object, where: str, what: str) -> str | None:
        """Text of 1 to 128 printable characters without spaces at its ends."""
        found = self.text(node, where, what, limit=MAX_NAME)
        if found is None:
            return None
        if not found or found != found.strip() or not found.isprintable():
            self.fault(where, f"{what} must be printable text without spaces around it")
            return None
        return found

    def integer(
        self, node: object, where: str, what: str, low: int, high: int | None = None
    ) -> int | None:
        """A whole number from low to high."""
        if isinstance(node, bool) or not isinstance(node, int):
            self.fault(where, f"{what} must be a whole number, not {kind_of(node)}")
        elif node < low or (high is not None and node > high):
            bounds = f"from {low} to {high}" if high is not None else f"at least {low}"
            self.fault(where, f"{what} must be {bounds}, not {node}")
        else:
            return node
        return None

    def duration(self, node: object, where: str, what: str) -> Micros | None:
        """A duration such as `5m`, in microseconds."""
        if isinstance(node, str):
            found = parse_duration(node)
            if found is not None:
                return found
            self.fault(where, f"'{node[:40]}' is not a duration", DURATION_HINT)
        elif isinstance(node, int | float) and not isinstance(node, bool):
            hint = f"write {node}s for {node} seconds, {node}ms for milliseconds"
            self.fault(where, f"{what} needs a unit: {node} is a bare number", hint)
        else:
            self.fault(where, f"{what} must be a duration, not {kind_of(node)}", DURATION_HINT)
        return None

    def schema(self, node: object, where: str, what: str) -> Json | None:
        """A JSON Schema, encoded."""
        found = self.mapping(node, where, what)
        if found is None:
            return None
        for fault in self.check_schema(found):
            self.faults.append(replace(fault, pointer=where + fault.pointer))
        return self.encode(found)

    def labels(self, node: object, where: str) -> dict[str, str]:
        """A mapping of text to text."""
        found = self.mapping(node, where, "labels") or {}
        if len(found) > MAX_LABELS:
            self.fault(where, f"more than {MAX_LABELS} labels")
            return {}
        read = {
            key: self.text(each, where + pointer(key), f"label '{key}'", limit=256)
            for key, each in found.items()
        }
        return {key: each for key, each in read.items() if each is not None}

    def value(self, node: object, where: str, scope: ExpressionScope) -> Value:
        """A JSON tree with expressions, each checked in the scope."""
        value, mistakes = read_value(node)
        for path, message in mistakes:
            hint = "close the expression, or write $${{ for the characters themselves"
            self.fault(under(where, path), message, hint)
        for path, text in expressions_in(value):
            self.expression(text, under(where, path), scope)
        return value

    def arguments(self, node: object, where: str, scope: ExpressionScope) -> Value:
        """`with`: a mapping, or one expression that gives one."""
        value = self.value(node, where, scope)
        if not is_map(value.tree) and not isinstance(value.tree, Expression):
            self.fault(where, f"'with' must be a mapping, not {kind_of(node)}")
        return value

    def expression(self, text: str, where: str, scope: ExpressionScope, truth: str = "") -> None:
        """Check one expression, and remember it for `core.lint`. `truth`: see `SeenExpression`."""
        self.seen.append(SeenExpression(text, where, truth))
        if not text:
            self.fault(where, "empty expression")
        elif len(text) > MAX_EXPRESSION:
            self.fault(where, f"expression longer than {MAX_EXPRESSION} characters")
        elif (complaint := self.check_expression(text, scope)) is not None:
            self.fault(where, f"in '{shortened(text)}': {complaint}")

    def condition(
        self, node: object, where: str, scope: ExpressionScope, what: str = "'if'"
    ) -> str | None:
        """A boolean expression, with or without `${{ }}` around it."""
        if isinstance(node, bool):
            return "true" if node else "false"
        if not isinstance(node, str):
            self.fault(where, f"{what} must be an expression, not {kind_of(node)}")
            return None
        value, mistakes = read_value(node)
        text = value.tree.text if isinstance(value.tree, Expression) else node.strip()
        if mistakes or isinstance(value.tree, Interpolated):
            hint = "write ${{ … }} around all of it"
            self.fault(where, f"{what} must be one expression", hint)
            return None
        self.expression(text, where, scope, what)
        return text

    def strings(self, node: object, where: str, what: str) -> list[tuple[str, str]]:
        """One name or a list of names, each with its pointer."""
        nodes = [(node, where)]
        if is_list(node):
            nodes = [(each, f"{where}/{at}") for at, each in enumerate(node)]
        named = [(self.name(each, place, what), place) for each, place in nodes]
        return [(name, place) for name, place in named if name is not None]


def suggest(word: str, known: Collection[str]) -> str:
    """`did you mean 'capability'?`, or nothing when no known word is near."""
    near = get_close_matches(word[:100], known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else ""


def shortened(text: str, limit: int = 80) -> str:
    """The text in one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
