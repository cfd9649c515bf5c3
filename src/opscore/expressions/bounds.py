"""What an evaluation may cost, estimated before it starts.

The library stops after 10,000 iterations of `map`, `filter`, `exists` and `all` together. That
leaves what one iteration may do: search a long text, copy a list, blow a string up. So sizes (in
bytes of JSON) are carried through the tree as upper bounds, and the bytes that are touched are
counted, the size of a list spread evenly over its items. After the cost estimates of cel-go
(https://github.com/google/cel-go, checker/cost.go), with sizes known instead of assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from opscore.expressions.chunking import CHUNK
from opscore.expressions.references import path_of
from opscore.expressions.tree import Call, Fold, Items, Literal, Name, Node, Select, walk

MAX_ITERATIONS = 10_000
"""The library's own bound on one evaluation."""

MAX_WORK = 500_000_000
"""Bytes touched by one evaluation: about half a second at worst."""

MAX_SIZE = 16 * 1024 * 1024
"""Bytes of one value on the way."""

_COPY = 30  # Nanoseconds to copy one item of a list.
_MAX_SUMS = 8
_ITEM = 2  # The shortest item of a list and its comma.
_CLAUSE = 1400  # Characters that one two-letter clause of format() can become ('%.1000f').
_BLOWS_UP = frozenset({"replace", "join", "format"})
_SCALAR = frozenset(
    [
        "_&&_",
        "_||_",
        "!_",
        "-_",
        "_-_",
        "_*_",
        "_/_",
        "_%_",
        "_==_",
        "_!=_",
        "_<_",
        "_<=_",
        "_>_",
        "_>=_",
        "@in",
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "indexOf",
        "lastIndexOf",
        "int",
        "uint",
        "double",
        "bool",
        "type",
        "duration",
        "timestamp",
    ]
)
_FREE = frozenset(["_&&_", "_||_", "!_", "_?_:_", "_[_]"])
_IN_PYTHON = frozenset(
    ["sort", "distinct", "flatten", "slice", "reverse", "first", "last", "lists.range"]
)
_PYTHON_FACTOR = 20


class TooCostly(Exception):
    """The estimate is over a bound; the message says which."""


def is_light(root: Node) -> bool:
    """Whether the cost is bounded by a few times the data, so that no estimate is needed."""
    sums = 0
    for node in walk(root):
        match node:
            case Fold():
                return False
            case Call(function=function):
                if function in _BLOWS_UP or function in _IN_PYTHON:
                    return False
                sums += function == "_+_"
            case _:
                pass
    return sums <= _MAX_SUMS


class Extent(NamedTuple):
    """An upper bound of a value: its bytes as JSON, and its items if it is a list or a map."""

    size: int
    items: int


Extents: TypeAlias = Mapping[tuple[str, ...], Extent]
"""The true extents of what an expression mentions, by path."""

_SMALL = Extent(8, 0)


def check_cost(root: Node, known: Extents) -> None:
    """Raise `TooCostly` when the evaluation may cost more than the bounds of this module."""
    _Estimate(known).extent(root, {}, 1)


@dataclass(slots=True)
class _Estimate:
    """`extent` gives the extent of a node's value and adds what it costs, `times` over."""

    known: Extents
    work: int = 0

    def extent(self, node: Node, local: Mapping[str, Extent], times: int) -> Extent:
        path = path_of(node)
        if path is not None:
            return self._mentioned(path.path, local)
        match node:
            case Literal(size=size):
                return Extent(size, 0)
            case Select(operand=operand):
                return _inside(self.extent(operand, local, times))
            case Items(parts=parts):
                sizes = [self.extent(each, local, times).size + _ITEM for each in parts]
                return Extent(self._grown(_ITEM + sum(sizes)), len(parts))
            case Fold():
                return self._fold(node, local, times)
            case Call():
                return self._call(node, local, times)
            case Name():
                raise AssertionError("a name is a path")

    def _mentioned(self, path: tuple[str, ...], local: Mapping[str, Extent]) -> Extent:
        if path[0] in local:
            return local[path[0]] if len(path) == 1 else _inside(local[path[0]])
        return self.known.get(path, _SMALL)

    def _call(self, node: Call, local: Mapping[str, Extent], times: int) -> Extent:
        given = [self.extent(each, local, times) for each in node.arguments]
        name = node.function
        if name == "_?_:_":
            return Extent(max(g.size for g in given[1:]), max(g.items for g in given[1:]))
        if name == "_[_]":
            return _inside(given[0])
        result = _SMALL if name in _SCALAR else _result(name, given)
        self._grown(result.size)
        if name not in _FREE:
            factor = _PYTHON_FACTOR if name in _IN_PYTHON else 1
            self._add(times * (factor * sum(each.size for each in given) + result.size))
        return result

    def _fold(self, node: Fold, local: Mapping[str, Extent], times: int) -> Extent:
        source = self.extent(node.source, local, times)
        start = self.extent(node.start, local, times)
        if isinstance(node.source, Items) and not node.source.parts:  # cel.bind
            return self.extent(node.result, {**local, node.accumulator: start}, times)
        count = min(source.items, MAX_ITERATIONS)
        item = _inside(Extent(source.size // max(count, 1) + _ITEM, 0))
        inner = {**local, **dict.fromkeys(node.variables, item), node.accumulator: _NOTHING}
        rounds = min(times * count, MAX_ITERATIONS)
        copied = 0
        if isinstance(node.start, Items):  # map and filter, see `chunking`
            copied = min(count, CHUNK) + count // CHUNK if _in_chunks(node, local) else count
        self._add(rounds * (1 + copied * _COPY // 2))
        self.extent(node.condition, inner, rounds)
        step = self.extent(node.step, inner, rounds)
        result = Extent(self._grown(start.size + count * step.size), count)
        return self.extent(node.result, {**local, node.accumulator: result}, times)

    def _add(self, work: int) -> None:
        self.work += work
        if self.work > MAX_WORK:
            raise TooCostly(f"it may touch more than {MAX_WORK:,} bytes on its way")

    def _grown(self, size: int) -> int:
        if size > MAX_SIZE:
            raise TooCostly(f"a value on its way may have more than {MAX_SIZE:,} bytes")
        return size


_NOTHING = Extent(0, 0)


def _in_chunks(node: Fold, local: Mapping[str, Extent]) -> bool:
    source: Node = node
    while isinstance(source, Fold) and isinstance(source.start, Items):
        source = source.source
    path = path_of(source)
    return path is not None and path.path[0] not in local


def _inside(outer: Extent) -> Extent:
    return Extent(outer.size, outer.size // _ITEM + 1)


def _result(name: str, given: list[Extent]) -> Extent:
    total = sum(each.size for each in given)
    match name, given:
        case "_+_", _:
            return Extent(total, sum(each.items for each in given))
        case "replace", [text, _, new, *_]:
            return Extent((text.size + 1) * (new.size + 1), 0)
        case "join", [texts, *between]:
            return Extent(texts.size + texts.items * sum(each.size for each in between), 0)
        case "format", [pattern, values]:
            return Extent((pattern.size // 2 + 1) * _CLAUSE + pattern.size * values.size, 0)
        case "lists.range", _:
            return Extent(MAX_ITERATIONS * 6, MAX_ITERATIONS)
        case (("sort" | "distinct" | "reverse" | "slice"), [items, *_]):
            return items
        case _:
            return _inside(Extent(total + 64, 0))
