"""Plain trees (what YAML and JSON give) and RFC 6901 pointers into them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TypeGuard

from opscore.core.errors import Fault

MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_INTEGER = 2**64

_SURROGATE = re.compile("[\ud800-\udfff]")


def is_list(node: object) -> TypeGuard[list[object]]:
    """Whether the node is a list."""
    return isinstance(node, list)


def is_map(node: object) -> TypeGuard[dict[str, object]]:
    """Whether the node is a mapping; `tree_faults` has seen to it that its keys are text."""
    return isinstance(node, dict)


def kind_of(node: object) -> str:
    """The node's type in the words of people who write YAML."""
    match node:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return type(node).__name__


def pointer(*parts: str | int) -> str:
    """The RFC 6901 pointer of these keys and list positions."""
    return "".join(f"/{_escaped(part)}" for part in parts)


def under(base: str, path: Iterable[str | int]) -> str:
    """The pointer of a path that starts at the pointer `base`."""
    return base + pointer(*path)


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def tree_faults(tree: object) -> list[Fault]:
    """What keeps the tree from being JSON of bounded depth and size. Never recurses."""
    faults: list[Fault] = []
    todo: list[tuple[object, str, int]] = [(tree, "", 1)]
    seen = 0
    while todo:
        node, where, depth = todo.pop()
        seen += 1
        if seen > MAX_NODES:
            return [Fault("", f"more than {MAX_NODES} values", "split the document")]
        if depth > MAX_DEPTH:
            return [Fault(where, f"nested deeper than {MAX_DEPTH} levels", "flatten the document")]
        if is_map(node):
            for key, each in node.items():
                faults += _key_faults(key, where)
                todo.append((each, where + pointer(key), depth + 1))
        elif is_list(node):
            todo += [(each, f"{where}/{at}", depth + 1) for at, each in enumerate(node)]
        else:
            faults += _scalar_faults(node, where)
    return faults


def _key_faults(key: object, where: str) -> list[Fault]:
    if not isinstance(key, str):
        return [Fault(f"{where}{pointer(str(key))}", "keys are text", f'write "{key}" in quotes')]
    return _scalar_faults(key, where + pointer(key))


def _scalar_faults(node: object, where: str) -> list[Fault]:
    match node:
        case float() if not math.isfinite(node):
            return [Fault(where, f"{node} is not a JSON number")]
        case int() if abs(node) >= MAX_INTEGER:
            return [Fault(where, "integers have at most 64 bits", "write it as text, in quotes")]
        case str() if _SURROGATE.search(node):
            return [Fault(where, "text holds half of a surrogate pair")]
        case None | bool() | int() | float() | str():
            return []
        case _:
            return [Fault(where, f"{type(node).__name__} is not a JSON value")]
