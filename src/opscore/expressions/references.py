"""Which variables, and which fields of them, an expression mentions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from opscore.expressions.tree import Call, Fold, Items, Literal, Name, Node, Select, walk


@dataclass(frozen=True, slots=True)
class Reference:
    """A variable with the fields selected from it: `steps.scan.output` is one of three parts.

    `node` is the id of the tree's node that names the variable.
    """

    path: tuple[str, ...]
    node: int


Needed = dict[str, "Needed | None"]
"""Which fields are needed of which variables; None is all that stands below."""


def references(node: Node, local: frozenset[str] = frozenset()) -> Iterator[Reference]:
    """Every mention of a variable that the expression itself does not bind."""
    path = path_of(node)
    if path is not None:
        if path.path[0] not in local:
            yield path
        return
    match node:
        case Literal() | Name():
            return
        case Select(operand=operand):
            yield from references(operand, local)
        case Call(arguments=parts) | Items(parts=parts):
            for part in parts:
                yield from references(part, local)
        case Fold():
            inner = local | {*node.variables, node.accumulator}
            yield from references(node.source, local)
            yield from references(node.start, local)
            for part in (node.condition, node.step):
                yield from references(part, inner)
            yield from references(node.result, local | {node.accumulator})


def path_of(node: Node) -> Reference | None:
    """The node as a variable with selected fields (`a.b`, `a["b"]`, `has(a.b)`), if it is one."""
    match node:
        case Name(id=number, name=name):
            return Reference((name,), number)
        case Select(operand=operand, field=field):
            return _longer(operand, field)
        case Call(function="_[_]", arguments=(operand, Literal(value=str(field)))):
            return _longer(operand, field)
        case _:
            return None


def _longer(operand: Node, field: str) -> Reference | None:
    inner = path_of(operand)
    return Reference((*inner.path, field), inner.node) if inner else None


def plain_path(node: Node) -> tuple[str, ...] | None:
    """The path when the node is nothing but field selections, none of them under `has`."""
    path = path_of(node)
    if path is None or any(isinstance(each, Select) and each.test for each in walk(node)):
        return None
    return path.path


def needed(paths: Iterator[tuple[str, ...]]) -> Needed:
    """The paths as one tree; a path that is the beginning of another one swallows it."""
    root: Needed = {}
    for path in paths:
        level = root
        for part in path[:-1]:
            below = level.setdefault(part, {})
            if below is None:
                break
            level = below
        else:
            level[path[-1]] = None
    return root
