"""The syntax tree of a checked CEL expression, read from its serialised form.

The library compiles and evaluates but shows no tree; what it serialises is `cel.expr.CheckedExpr`
(https://github.com/google/cel-spec, proto/cel/expr/checked.proto and syntax.proto) inside a
`google.protobuf.Any`. The tree says which names an expression mentions and what it may cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from opscore.expressions.wire import Fields, as_bytes, fields_of, integer, message, text


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; `value` is its text when it is a string."""

    id: int
    value: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Name:
    """A variable."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`, or `has(operand.field)` when `test` is set."""

    id: int
    operand: Node
    field: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator; a method's receiver is the first argument."""

    id: int
    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list, map or message literal with its parts (keys and values in turn).

    `message` is the type's name of a message literal (`google.protobuf.Duration{…}`).
    """

    id: int
    parts: tuple[Node, ...]
    message: str = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """What `map`, `filter`, `exists`, `all` and `cel.bind` are made of."""

    id: int
    variables: tuple[str, ...]
    source: Node
    accumulator: str
    start: Node
    condition: Node
    step: Node
    result: Node


Node: TypeAlias = Literal | Name | Select | Call | Items | Fold


@dataclass(frozen=True, slots=True)
class SyntaxTree:
    """The root node, and where (offset in characters) each node stands in the source."""

    root: Node
    offsets: Mapping[int, int]


def read_tree(serialised: bytes) -> SyntaxTree:
    """Read what `cel.Expression.serialize()` gave."""
    checked = fields_of(message(fields_of(serialised), 2))
    info = fields_of(message(checked, 5))
    pairs = [fields_of(as_bytes(each)) for each in info.get(4, [])]
    offsets = {integer(pair, 1): integer(pair, 2) for pair in pairs}
    return SyntaxTree(read_node(message(checked, 4)), offsets)


def read_node(data: bytes) -> Node:
    """Read one `cel.expr.Expr`."""
    fields = fields_of(data)
    number = integer(fields, 2)
    kinds = {
        3: _literal,
        4: _name,
        5: _select,
        6: _call,
        7: _list,
        8: _struct,
        9: _fold,
    }
    for tag, read in kinds.items():
        if tag in fields:
            return read(number, fields_of(message(fields, tag)))
    return Literal(number, None, 0)


def _literal(number: int, fields: Fields) -> Node:
    found = fields.get(6) or fields.get(7)
    if found:
        content = as_bytes(found[0])
        return Literal(number, content.decode() if 6 in fields else None, len(content))
    return Literal(number, None, 8)


def _name(number: int, fields: Fields) -> Node:
    return Name(number, text(fields, 1))


def _select(number: int, fields: Fields) -> Node:
    test = bool(integer(fields, 3))
    return Select(number, read_node(message(fields, 1)), text(fields, 2), test)


def _call(number: int, fields: Fields) -> Node:
    arguments = [read_node(as_bytes(each)) for each in (*fields.get(1, []), *fields.get(3, []))]
    return Call(number, text(fields, 2), tuple(arguments))


def _list(number: int, fields: Fields) -> Node:
    return Items(number, tuple(read_node(as_bytes(each)) for each in fields.get(1, [])))


def _struct(number: int, fields: Fields) -> Node:
    parts: list[Node] = []
    for entry in fields.get(2, []):
        inner = fields_of(as_bytes(entry))
        parts += [read_node(as_bytes(inner[tag][0])) for tag in (3, 4) if tag in inner]
    return Items(number, tuple(parts), text(fields, 1))


def _fold(number: int, fields: Fields) -> Node:
    variables = tuple(text(fields, tag) for tag in (1, 8) if tag in fields)
    source, start, condition, step, result = (read_node(message(fields, at)) for at in _FOLD)
    accumulator = text(fields, 3)
    return Fold(number, variables, source, accumulator, start, condition, step, result)


_FOLD = (2, 4, 5, 6, 7)


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    match node:
        case Select(operand=operand):
            yield from walk(operand)
        case Call(arguments=parts) | Items(parts=parts):
            for part in parts:
                yield from walk(part)
        case Fold():
            for part in (node.source, node.start, node.condition, node.step, node.result):
                yield from walk(part)
        case _:
            return
