"""The await points of the product's source, and which of them a process was killed at."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import opscore

PACKAGE = Path(opscore.__file__).parent
ROOMS = ("engine", "store/sqlite.py", "store/reads.py", "channels/instance.py")
"""What the simulation runs of the product that awaits anything."""


class Point(NamedTuple):
    """One `await`, `async with` or `async for`."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{Path(self.file).relative_to(PACKAGE)}:{self.line}"


@cache
def points() -> Sequence[Point]:
    """All of them, in a fixed order."""
    return sorted({point for path in _files() for point in _lines(path).values()})


def _files() -> Iterator[Path]:
    for room in ROOMS:
        path = PACKAGE / room
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


@cache
def _lines(path: Path) -> dict[int, Point]:
    """Which point a line belongs to: the innermost."""
    found: dict[int, Point] = {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    waits = (ast.Await, ast.AsyncWith, ast.AsyncFor)
    for node in sorted(
        (node for node in ast.walk(tree) if isinstance(node, waits)),
        key=lambda node: (node.end_lineno or node.lineno) - node.lineno,
        reverse=True,
    ):
        end = node.lineno if not isinstance(node, ast.Await) else node.end_lineno or node.lineno
        for line in range(node.lineno, end + 1):
            found[line] = Point(str(path), node.lineno)
    return found


def suspended(task: Any) -> Iterator[Point]:
    """The points at which a task is suspended, from the outermost to the innermost."""
    waiting: Any = task.get_coro() if hasattr(task, "get_coro") else None
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None)
        if frame is not None:
            point = _of(frame.f_code.co_filename, frame.f_lineno)
            if point is not None:
                yield point
        waiting = getattr(waiting, "cr_await", None)


def _of(file: str, line: int) -> Point | None:
    lines = _known().get(file)
    return lines.get(line) if lines is not None else None


@cache
def _known() -> dict[str, dict[int, Point]]:
    return {str(path): _lines(path) for path in _files()}
