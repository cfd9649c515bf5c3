"""The component diagram, drawn from who really imports whom."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable
from pathlib import Path

import grimp

PACKAGE = "opscore"


def room_of(module: str) -> str:
    """`opscore.engine.writer` lies in the room `engine`."""
    return module.split(".")[1]


def imports() -> tuple[list[str], list[tuple[str, str]]]:
    """All rooms, and all pairs of rooms of which the first imports the second, in order."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    modules = [module for module in graph.modules if module != PACKAGE]
    pairs = {
        (room_of(module), room_of(imported))
        for module in modules
        for imported in graph.find_modules_directly_imported_by(module)
        if imported != PACKAGE and room_of(module) != room_of(imported)
    }
    return sorted({room_of(module) for module in modules}), sorted(pairs)


def purpose_of(room: str) -> str:
    """The first sentence of the room's docstring, up to a colon or a full stop."""
    spec = importlib.util.find_spec(f"{PACKAGE}.{room}")
    if spec is None or spec.origin is None:
        raise ValueError(f"{PACKAGE}.{room} has no source")
    words = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return words.split("\n")[0].split(": ")[0].rstrip(".").replace('"', "'")


def draw(rooms: Iterable[tuple[str, str]], pairs: Iterable[tuple[str, str]]) -> str:
    """A Mermaid flow chart of (room, purpose) and of who imports whom."""
    nodes = [f'    {room}["<b>{room}</b><br/>{purpose}"]' for room, purpose in rooms]
    arrows = [f"    {importer} --> {imported}" for importer, imported in pairs]
    return "\n".join(["```mermaid", "flowchart TD", *nodes, *arrows, "```"])


def diagram() -> str:
    rooms, pairs = imports()
    return draw([(room, purpose_of(room)) for room in rooms], pairs)
