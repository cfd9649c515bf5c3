"""Builds a plain tree and the places of its nodes from a stream of events, bounded as it grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from opscore.core.errors import Fault, Invalid
from opscore.core.trees import MAX_DEPTH, is_list, is_map, pointer

MAX_NODES = 50_000
"""Values of one document, counted after aliases are followed."""

Position = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(slots=True)
class Place:
    """Where a node stands, the keys and items below it, and how much it weighs."""

    at: Position
    keys: dict[str, Position] = field(default_factory=dict[str, Position])
    children: dict[str, Place] = field(default_factory=dict[str, "Place"])
    nodes: int = 1
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Built:
    """A finished node with its place."""

    tree: object
    place: Place


@dataclass(slots=True)
class _Open:
    """A list or mapping that is not closed yet; `key` is the one that waits for its value."""

    tree: list[object] | dict[str, object]
    place: Place
    anchor: str | None = None
    key: str | None = None


def refuse(message: str, at: Position, hint: str = "", where: str = "") -> NoReturn:
    """Refuse the document for one mistake at a line and column."""
    line, column = at
    fault = Fault(where, message, hint, line, column)
    raise Invalid(f"line {line}, column {column}: {message}", faults=[fault])


class Builder:
    """Takes the events of a parser one by one; `root` holds the result at the end.

    Every method raises `Invalid` with line and column.
    """

    def __init__(self) -> None:
        self.root: Built | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, Built] = {}
        self._nodes = 0

    @property
    def expects_key(self) -> bool:
        """Whether the next scalar is the key of a mapping."""
        return bool(self._open) and is_map(self._open[-1].tree) and self._open[-1].key is None

    def start(
        self, tree: list[object] | dict[str, object], at: Position, anchor: str | None
    ) -> None:
        """A list or mapping begins."""
        if self.expects_key:
            refuse("a key must be text, not a list or mapping", at)
        if len(self._open) >= MAX_DEPTH:
            refuse(f"nested deeper than {MAX_DEPTH} levels", at, "flatten the document")
        self._count(1, at)
        self._open.append(_Open(tree, Place(at, nodes=0), anchor))

    def end(self) -> None:
        """The innermost list or mapping ends."""
        done = self._open.pop()
        done.place.nodes += 1
        self._attach(Built(done.tree, done.place), done.anchor)

    def scalar(self, value: object, at: Position, anchor: str | None = None) -> None:
        """A key or a single value."""
        if self.expects_key:
            self._take_key(value, at)
            return
        self._count(1, at)
        self._attach(Built(value, Place(at)), anchor)

    def alias(self, anchor: str, at: Position) -> None:
        """The node of an anchor once more."""
        if self.expects_key:
            refuse("an alias cannot be a key", at)
        if any(each.anchor == anchor for each in self._open):
            refuse(f"the alias '*{anchor}' would contain itself", at)
        if anchor not in self._anchors:
            refuse(f"there is no anchor '&{anchor}' before this alias", at)
        known = self._anchors[anchor]
        if len(self._open) + known.place.depth > MAX_DEPTH:
            refuse(f"nested deeper than {MAX_DEPTH} levels", at, "flatten the document")
        self._count(known.place.nodes, at)
        place = Place(at, known.place.keys, known.place.children)
        place.nodes, place.depth = known.place.nodes, known.place.depth
        self._attach(Built(known.tree, place), None)

    def _take_key(self, value: object, at: Position) -> None:
        top = self._open[-1]
        if not isinstance(value, str):
            shown = "null" if value is None else str(value).lower()[:40]
            refuse(f"a key must be text, not {shown}", at, f'write "{shown}" in quotes')
        first = top.place.keys.get(value)
        if first is not None:
            message = f"the key '{value[:60]}' stands twice: first on line {first[0]}"
            refuse(message, at, "remove one of them", self._pointer() + pointer(value))
        top.place.keys[value] = at
        top.key = value

    def _attach(self, built: Built, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = built
        if not self._open:
            self.root = built
            return
        top = self._open[-1]
        top.place.nodes += built.place.nodes
        top.place.depth = max(top.place.depth, built.place.depth + 1)
        if is_list(top.tree):
            top.place.children[str(len(top.tree))] = built.place
            top.tree.append(built.tree)
        elif is_map(top.tree) and top.key is not None:
            top.place.children[top.key] = built.place
            top.tree[top.key] = built.tree
            top.key = None

    def _count(self, nodes: int, at: Position) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            hint = "aliases count with all that they stand for"
            refuse(f"more than {MAX_NODES} values", at, hint)

    def _pointer(self) -> str:
        return pointer(
            *(len(each.tree) if each.key is None else each.key for each in self._open[:-1])
        )
