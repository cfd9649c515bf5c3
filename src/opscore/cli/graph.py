"""A session's steps as a graph: each below a step that it needs, with lines from one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Json = dict[str, Any]
Needs = Mapping[str, tuple[str, ...]]

DEEPEST = 8
"""Steps further down are drawn at this level: a terminal is only so wide."""


@dataclass(frozen=True, slots=True)
class Node:
    """A step in the graph. `guides`: for each level above it, whether a line goes on there.

    `last`: it is the last below its parent. `also`: what it needs besides that.
    """

    name: str
    guides: tuple[bool, ...] = ()
    last: bool = True
    also: tuple[str, ...] = ()


def needs_of(definition: Any) -> dict[str, tuple[str, ...]]:
    """What each step of a template, as the server gives it, needs: one name, or a list of them."""
    steps: Json = definition.get("steps") or {}
    return {name: _names(step.get("needs") or ()) for name, step in steps.items()}


def _names(needs: Any) -> tuple[str, ...]:
    return (needs,) if isinstance(needs, str) else tuple(needs)


def drawn(names: Iterable[str], needs: Needs) -> list[Node]:
    """The steps in the order of drawing: a step stands below the last of its needs."""
    order = {name: place for place, name in enumerate(names)}
    depths: dict[str, int] = {}
    for name in order:
        _depth(name, order, needs, depths)
    below: dict[str | None, list[str]] = {}
    for name in order:
        known = [need for need in needs.get(name, ()) if need in order]
        parent = max(known, key=lambda need: (depths[need], order[need]), default=None)
        below.setdefault(parent, []).append(name)
    return [node for root in below.get(None, []) for node in _draw(root, below, needs, order)]


def _depth(name: str, order: Mapping[str, int], needs: Needs, depths: dict[str, int]) -> None:
    """Set the depth of a step and of all it needs; a loop, which no template has, ends."""
    waiting = [name]
    while waiting:
        one = waiting[-1]
        known = [need for need in needs.get(one, ()) if need in order]
        missing = [need for need in known if need not in depths and need not in waiting]
        if missing:
            waiting.append(missing[0])
            continue
        depths[one] = 1 + max((depths.get(need, 0) for need in known), default=-1)
        waiting.pop()


def _draw(
    root: str, below: Mapping[str | None, list[str]], needs: Needs, order: Mapping[str, int]
) -> Iterator[Node]:
    """A step and all below it; a stack, because a chain may be long."""
    stack = [(Node(root), "")]
    while stack:
        node, parent = stack.pop()
        also = [need for need in needs.get(node.name, ()) if need in order and need != parent]
        yield replace(node, also=tuple(also))
        children = below.get(node.name, [])
        guides = (*node.guides, not node.last)[:DEEPEST]
        stack += [
            (Node(child, guides, last=child == children[-1]), node.name) for child in children[::-1]
        ]
