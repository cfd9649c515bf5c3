"""The syntax tree of a checked CEL expression, read from its serialised form.

The library compiles and evaluates but shows no tree; what it serialises is `cel.expr.CheckedExpr`
(https://github.com/google/cel-spec, proto/cel/expr/checked.proto and syntax.proto) inside a
`google.protobuf.Any`. The tree says which names an expression mentions and what it may cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. `value` is its text when it is a string, and `integer` when it is one."""

    id: int
    value: str | None
    size: int
    integer: int | None = None


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
    """A list, map or message literal with its parts (keys and values in turn)."""

    id: int
    parts: tuple[Node, ...]


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
Fields: TypeAlias = Mapping[int, list[int | bytes]]


@dataclass(frozen=True, slots=True)
class SyntaxTree:
    """The root node, and where (offset in characters) each node stands in the source."""

    root: Node
    offsets: Mapping[int, int]


def read_tree(serialised: bytes) -> SyntaxTree:
    """Read what `cel.Expression.serialize()` gave."""
    checked = _fields(_message(_fields(serialised), 2))
    info = _fields(_message(checked, 5))
    pairs = [_fields(_bytes(each)) for each in info.get(4, [])]
    offsets = {_integer(pair, 1): _integer(pair, 2) for pair in pairs}
    return SyntaxTree(_node(_message(checked, 4)), offsets)


def _node(data: bytes) -> Node:
    fields = _fields(data)
    number = _integer(fields, 2)
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
            return read(number, _fields(_message(fields, tag)))
    return Literal(number, None, 0)


def _literal(number: int, fields: Fields) -> Node:
    text = fields.get(6) or fields.get(7)
    if text:
        content = _bytes(text[0])
        return Literal(number, content.decode() if 6 in fields else None, len(content))
    return Literal(number, None, 8, _integer(fields, 3) if 3 in fields else None)


def _name(number: int, fields: Fields) -> Node:
    return Name(number, _text(fields, 1))


def _select(number: int, fields: Fields) -> Node:
    test = bool(_integer(fields, 3))
    return Select(number, _node(_message(fields, 1)), _text(fields, 2), test)


def _call(number: int, fields: Fields) -> Node:
    arguments = [_node(_bytes(each)) for each in (*fields.get(1, []), *fields.get(3, []))]
    return Call(number, _text(fields, 2), tuple(arguments))


def _list(number: int, fields: Fields) -> Node:
    return Items(number, tuple(_node(_bytes(each)) for each in fields.get(1, [])))


def _struct(number: int, fields: Fields) -> Node:
    parts: list[Node] = []
    for entry in fields.get(2, []):
        inner = _fields(_bytes(entry))
        parts += [_node(_bytes(inner[tag][0])) for tag in (3, 4) if tag in inner]
    return Items(number, tuple(parts))


def _fold(number: int, fields: Fields) -> Node:
    variables = tuple(_text(fields, tag) for tag in (1, 8) if tag in fields)
    source, start, condition, step, result = (_node(_message(fields, at)) for at in _FOLD)
    accumulator = _text(fields, 3)
    return Fold(number, variables, source, accumulator, start, condition, step, result)


_FOLD = (2, 4, 5, 6, 7)


def _message(fields: Fields, tag: int) -> bytes:
    return _bytes(fields[tag][-1]) if tag in fields else b""


def _text(fields: Fields, tag: int) -> str:
    return _message(fields, tag).decode()


def _integer(fields: Fields, tag: int) -> int:
    value = fields[tag][-1] if tag in fields else 0
    assert isinstance(value, int), "a number field of CheckedExpr holds a number"
    return value


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes), "a message field of CheckedExpr holds bytes"
    return value


def _fields(data: bytes) -> Fields:
    """The fields of one protobuf message by number."""
    found: dict[int, list[int | bytes]] = {}
    for tag, value in _wire(data):
        found.setdefault(tag, []).append(value)
    return found


def _wire(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    # https://protobuf.dev/programming-guides/encoding/
    at = 0
    while at < len(data):
        head, at = _varint(data, at)
        kind = head & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield head >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        else:
            size = 8 if kind == 1 else 4
        yield head >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
