"""List functions that CEL's own extensions lack in this library (names as in cel-go's `lists`).

`[3, 1].sort()`, `.distinct()`, `.flatten()`, `.flatten(depth)`, `.slice(from, to)`, `.reverse()`,
`.first()`, `.last()` (null when there is none) and `lists.range(n)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cel_expr_python import cel

from opscore.core.trees import is_list, is_map

MAX_RANGE = 10_000

_LIST = cel.Type.List(cel.Type.DYN)
_INT = cel.Type.INT


def list_functions() -> cel.CelExtension:
    """The extension to give to `cel.NewEnv`."""
    return cel.CelExtension(
        "opscore.lists",
        [
            _method("sort", _sort),
            _method("distinct", _distinct),
            cel.FunctionDecl(
                "flatten",
                [
                    _overload("list_flatten", _flatten, []),
                    _overload("list_flatten_depth", _flatten_to, [_INT]),
                ],
            ),
            cel.FunctionDecl("slice", [_overload("list_slice", _slice, [_INT, _INT])]),
            _method("reverse", _reverse),
            _method("first", _first, cel.Type.DYN),
            _method("last", _last, cel.Type.DYN),
            cel.FunctionDecl(
                "lists.range", [cel.Overload("lists_range", _LIST, [_INT], impl=_range)]
            ),
        ],
    )


def _method(name: str, function: Callable[..., Any], gives: cel.Type = _LIST) -> cel.FunctionDecl:
    return cel.FunctionDecl(name, [_overload(f"list_{name}", function, [], gives)])


def _overload(
    name: str, function: Callable[..., Any], more: list[cel.Type], gives: cel.Type = _LIST
) -> cel.Overload:
    return cel.Overload(name, gives, [_LIST, *more], is_member=True, impl=function)


# An exception raised here becomes an error value of the expression with the same words.


def _sort(items: list[Any]) -> list[Any]:
    kinds = {_order_kind(item) for item in items}
    if len(kinds) > 1:
        raise ValueError(f"sort() needs items of one type, not {' and '.join(sorted(kinds))}")
    return sorted(items)


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


def _distinct(items: list[Any]) -> list[Any]:
    return list({_identity(item): item for item in reversed(items)}.values())[::-1]


def _identity(item: object) -> object:
    # CEL takes 1 and 1.0 as equal but true and 1 as different; Python takes all three as equal.
    if isinstance(item, bool):
        return ("bool", item)
    if is_list(item):
        return ("list", *map(_identity, item))
    if is_map(item):
        return ("map", frozenset((_identity(key), _identity(each)) for key, each in item.items()))
    return bytes(item) if isinstance(item, bytearray) else item


def _flatten(items: list[Any]) -> list[Any]:
    return _flatten_to(items, 1)


def _flatten_to(items: list[Any], depth: int) -> list[Any]:
    if depth < 0:
        raise ValueError("flatten() needs a depth of 0 or more")
    for _ in range(depth):
        if not any(is_list(item) for item in items):
            break
        items = [each for item in items for each in (item if is_list(item) else [item])]
    return items


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if not 0 <= start <= end <= len(items):
        raise ValueError(f"slice({start}, {end}) is outside a list of {len(items)}")
    return items[start:end]


def _reverse(items: list[Any]) -> list[Any]:
    return items[::-1]


def _first(items: list[Any]) -> object:
    return items[0] if items else None


def _last(items: list[Any]) -> object:
    return items[-1] if items else None


def _range(count: int) -> list[int]:
    if not 0 <= count <= MAX_RANGE:
        raise ValueError(f"lists.range() goes up to {MAX_RANGE}, not {count}")
    return list(range(count))
