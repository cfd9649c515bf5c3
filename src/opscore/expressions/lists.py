"""List functions that CEL's own extensions lack in this library (names as in cel-go's `lists`).

`[3, 1].sort()`, `.distinct()`, `.flatten()`, `.flatten(depth)`, `.slice(from, to)`, `.reverse()`
and `lists.range(n)`.

The library (cel-expr-python 0.1.3) never frees what it hands to a Python function, nor what it gets
back. So each function changes the list it was given and returns that very list, and the lists are
emptied before the next evaluation: what stays behind is an empty list, some hundred bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cel_expr_python import cel

from opscore.core.trees import is_list, is_map

MAX_RANGE = 10_000

_LIST = cel.Type.List(cel.Type.DYN)
_INT = cel.Type.INT


class ListFunctions:
    """The functions of one environment, and the lists they have touched."""

    def __init__(self) -> None:
        self._touched: list[list[Any]] = []

    def forget(self) -> None:
        """Empty the lists of the last evaluation. Its result must have been used by now."""
        for each in self._touched:
            each.clear()
        self._touched.clear()

    def extension(self) -> cel.CelExtension:
        """What to give to `cel.NewEnv`."""
        of_range = cel.Overload("lists_range", _LIST, [_INT], impl=self._range)
        flatten = [self._overload("flatten", _flatten), self._overload("flatten", _flatten, _INT)]
        return cel.CelExtension(
            "opscore.lists",
            [
                cel.FunctionDecl("sort", [self._overload("sort", _sort)]),
                cel.FunctionDecl("distinct", [self._overload("distinct", _distinct)]),
                cel.FunctionDecl("flatten", flatten),
                cel.FunctionDecl("slice", [self._overload("slice", _slice, _INT, _INT)]),
                cel.FunctionDecl("reverse", [self._overload("reverse", _reverse)]),
                cel.FunctionDecl("lists.range", [of_range]),
            ],
        )

    def _overload(self, name: str, change: Callable[..., None], *more: cel.Type) -> cel.Overload:
        def changed(items: list[Any], *arguments: Any) -> list[Any]:
            self._touched.append(items)
            change(items, *arguments)
            return items

        number = f"list_{name}_{len(more)}"
        return cel.Overload(number, _LIST, [_LIST, *more], is_member=True, impl=changed)

    def _range(self, count: int) -> list[int]:
        if not 0 <= count <= MAX_RANGE:
            raise ValueError(f"lists.range() goes up to {MAX_RANGE}, not {count}")
        found = list(range(count))
        self._touched.append(found)
        return found


# An exception raised here becomes an error value of the expression with the same words.


def _sort(items: list[Any]) -> None:
    kinds = {_order_kind(item) for item in items}
    if len(kinds) > 1:
        raise ValueError(f"sort() needs items of one type, not {' and '.join(sorted(kinds))}")
    items.sort()


def _order_kind(item: object) -> str:
    match item:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case None | list() | dict():
            raise ValueError("sort() needs numbers, text, booleans, times or durations")
        case _:
            return type(item).__name__


def _distinct(items: list[Any]) -> None:
    first: dict[object, Any] = {}
    for item in items:
        first.setdefault(_identity(item), item)
    items[:] = first.values()


def _identity(item: object) -> object:
    # CEL takes 1 and 1.0 as equal but true and 1 as different; Python takes all three as equal.
    if isinstance(item, bool):
        return ("bool", item)
    if is_list(item):
        return ("list", *map(_identity, item))
    if is_map(item):
        return ("map", frozenset((_identity(key), _identity(each)) for key, each in item.items()))
    return bytes(item) if isinstance(item, bytearray) else item


def _flatten(items: list[Any], depth: int = 1) -> None:
    if depth < 0:
        raise ValueError("flatten() needs a depth of 0 or more")
    for _ in range(depth):
        if not any(is_list(item) for item in items):
            return
        items[:] = [each for item in items for each in (item if is_list(item) else [item])]


def _slice(items: list[Any], start: int, end: int) -> None:
    if not 0 <= start <= end <= len(items):
        raise ValueError(f"slice({start}, {end}) is outside a list of {len(items)}")
    items[:] = items[start:end]


def _reverse(items: list[Any]) -> None:
    items.reverse()
