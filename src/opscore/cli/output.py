"""Printing: data on stdout, words on stderr, and nothing that could drive the terminal.

Whatever a server sends was written by agents and strangers; `telemetry/plain.py` has the rule.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from opscore.cli.settings import OutputFormat
from opscore.telemetry.plain import plain, plain_json, plain_lines

GAP = "  "

__all__ = ["plain"]

Row = Mapping[str, Any]
Columns = Sequence[tuple[str, str | Callable[[Row], object]]]
"""Headings, each with the field (or the function of a row) shown under it."""

COLOURS = {
    "completed": "32",
    "idle": "32",
    "ok": "32",
    "active": "36",
    "processing": "36",
    "running": "36",
    "paused": "33",
    "draining": "33",
    "warn": "33",
    "error": "31",
    "failed": "31",
    "fail": "31",
    "offline": "31",
    "cancelled": "35",
    "debug": "2",
    "warning": "33",
    "critical": "31",
}


def encode(value: object, *, indent: int | None = None) -> str:
    """`value` as JSON that is safe to show: what `plain` would escape is a JSON escape."""
    text = json.dumps(
        value, indent=indent, ensure_ascii=False, separators=None if indent else (",", ":")
    )
    return plain_json(text)


def complain(*lines: str) -> None:
    """Write words for a person to stderr, each line made harmless."""
    for line in lines:
        _write(sys.stderr, plain_lines(line))
    sys.stderr.flush()


def say(*lines: str) -> None:
    """Like `complain`, for what is not a complaint."""
    complain(*lines)


def print_json(value: object) -> None:
    """One JSON document on stdout, indented."""
    _write(sys.stdout, encode(value, indent=2))


def print_lines(lines: Iterable[str]) -> None:
    """Lines on stdout, made harmless already."""
    for line in lines:
        _write(sys.stdout, line)


def print_list(rows: Sequence[Row], columns: Columns, form: OutputFormat) -> None:
    """A list: a table, a JSON array, or one JSON object a line."""
    if form == "json":
        print_json(rows)
    elif form == "jsonl":
        print_lines(encode(row) for row in rows)
    elif rows:
        print_lines(table(rows, columns))
    else:
        say("(none)")


def print_one(value: Row, view: Callable[[Row], Iterable[str]], form: OutputFormat) -> None:
    """One thing: the lines of `view`, or the thing itself as JSON."""
    if form == "json":
        print_json(value)
    elif form == "jsonl":
        print_lines([encode(value)])
    else:
        print_lines(view(value))


def table(rows: Iterable[Row], columns: Columns) -> list[str]:
    """Aligned columns under headings; on a terminal cut to its width, with states in colour."""
    body = [[_cell(shown_of(row, what)) for _, what in columns] for row in rows]
    cells = [[heading for heading, _ in columns], *body]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    return [_line(row, widths, limit) for row in cells]


def shown_of(row: Row, what: str | Callable[[Row], object]) -> object:
    """What a column shows of a row; None: nothing."""
    return row.get(what) if isinstance(what, str) else what(row)


def fields(pairs: Iterable[tuple[str, object]]) -> list[str]:
    """Names and values in two columns; a value of None is left out."""
    shown = [(name, _cell(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"{name:<{width}}{GAP}{paint(value)}" for name, value in shown]


def block(title: str, value: object) -> list[str]:
    """A JSON value under a title, indented."""
    return ["", f"{title}:", *(f"  {line}" for line in encode(value, indent=2).split("\n"))]


def coloured(stream: TextIO) -> bool:
    """Whether colours are wanted on `stream`: a terminal, and NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(word: str) -> str:
    """A state's word in its colour, when stdout takes colours."""
    colour = COLOURS.get(word.strip())
    return f"\x1b[{colour}m{word}\x1b[0m" if colour and coloured(sys.stdout) else word


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case dict() | list():
            return encode(value)  # pyright: ignore[reportUnknownArgumentType]
        case _:
            return plain(value)


def _line(row: Sequence[str], widths: Sequence[int], limit: int) -> str:
    padded = [text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)]
    line = GAP.join(padded).rstrip()
    if limit and _width(line) > limit:
        return _cut(line, limit)
    return GAP.join(map(paint, padded)).rstrip()


def _cut(line: str, limit: int) -> str:
    while _width(line) >= limit:
        line = line[:-1]
    return line + "…"


def _width(text: str) -> int:
    """Columns a terminal needs: wide East Asian characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(one) in {"W", "F"} for one in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _write(stream: TextIO, line: str) -> None:
    try:
        stream.write(line + "\n")
    except UnicodeEncodeError:
        known = stream.encoding or "ascii"
        stream.write(line.encode(known, "backslashreplace").decode(known) + "\n")
