"""A trace as a waterfall: names at the left, time running to the right.

`show` writes it with rich on a terminal, and as plain text elsewhere; `waterfall` only lays it out.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from opscore.cli.output import coloured, plain, print_lines
from opscore.cli.spending import usage_lines
from opscore.cli.times import duration, moment

Piece = tuple[str, str]
"""Text, and its style for rich."""
Line = list[Piece]

WIDTH = 100
NAME = 44
TIMES = 30
ROWS_SHOWN = 12
"""Of one step: the critical ones, those that failed, then the longest."""
MARKS = {"queue": "░", "work": "█", "delay": "·", "wait": "~", "approval": "~"}
ASCII_MARKS = {"queue": ".", "work": "#", "delay": "-", "wait": "~", "approval": "~"}
STYLES = {"queue": "yellow", "work": "cyan", "delay": "magenta", "wait": "blue", "approval": "blue"}
LINE, ASCII_LINE = "─", "="


@dataclass(slots=True)
class Row:
    """One line: spans that follow each other. `depth` says how far it is indented."""

    depth: int
    name: str
    spans: list[Any] = field(default_factory=list[Any])

    @property
    def critical(self) -> bool:
        """Whether any of it is on the critical path."""
        return any(span["critical"] for span in self.spans)

    @property
    def failed(self) -> bool:
        """Whether it ended badly."""
        return self.spans[-1]["status"] == "error"

    @property
    def seconds(self) -> float:
        """All its time."""
        return sum(span["seconds"] for span in self.spans)


def show(trace: Mapping[str, Any]) -> None:
    """Write a trace to stdout."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((WIDTH, 24)).columns if terminal else WIDTH
    lines = waterfall(trace, max(width, 80), ascii_only=not _draws(sys.stdout.encoding))
    if not terminal:
        print_lines("".join(text for text, _ in line).rstrip() for line in lines)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(no_color=not coloured(sys.stdout), highlight=False, width=width)
    for line in lines:
        console.print(Text.assemble(*line), no_wrap=True, overflow="ellipsis", crop=True)


def _draws(encoding: str | None) -> bool:
    try:
        "".join((*MARKS.values(), LINE)).encode(encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def waterfall(trace: Mapping[str, Any], width: int, *, ascii_only: bool = False) -> list[Line]:
    """The lines of a trace, `width` columns wide: what it was, its spans, what follows from them."""
    marks, line = (ASCII_MARKS, ASCII_LINE) if ascii_only else (MARKS, LINE)
    path = trace["criticalPath"]
    title = f"{plain(trace['workflow'])} {plain(trace['version'])}: {plain(trace['status'])}"
    total = duration(path["totalSeconds"])
    lines: list[Line] = [[(title, "bold"), (f", {total}  {plain(trace['sessionId'])}", "")]]
    legend = "  ".join(f"{marks[kind]} {kind}" for kind in ("queue", "work", "delay", "wait"))
    lines += [[(f"* critical path  {legend}", "dim")], []]
    scale = Scale(trace, width - NAME - TIMES - 4)
    for row in rows(trace["spans"]):
        lines.append(_line(row, scale, marks, line) if row.spans else [(f"  {row.name}", "dim")])
    return [*lines, [], *_conclusions(trace)]


class Scale:
    """From times to columns. The server's clock says how long the line is, not an agent's."""

    def __init__(self, trace: Mapping[str, Any], columns: int) -> None:
        self.columns = max(columns, 10)
        self._start = moment(trace["spans"][0]["startAt"])
        ends = [self._start + 1e-6]
        ours = [span for span in trace["spans"] if span["kind"] != "reported"]
        ends += [moment(span["startAt"]) + span["seconds"] for span in ours]
        self._length = max(ends) - self._start

    def place(self, span: Mapping[str, Any]) -> tuple[int, int]:
        """The first column and how many; at least one, so that nothing is invisible."""
        begin = (moment(span["startAt"]) - self._start) / self._length * self.columns
        end = begin + span["seconds"] / self._length * self.columns
        first = max(0, min(int(begin), self.columns - 1))
        return first, max(1, min(round(end), self.columns) - first)


def rows(spans: Sequence[Any]) -> list[Row]:
    """Spans as rows: a task's queue, delay and attempt share one; long lists are cut."""
    depths: dict[str | None, int] = {}
    found: list[Row] = []
    waiting: dict[str, Row] = {}
    for span in spans:
        depth = depths[span["spanId"]] = depths.get(span["parentId"], -1) + 1
        ours = span["kind"] != "reported"
        task = span["attributes"].get("opscore.task.id") if ours else None
        row = waiting.pop(task, None) if task else None
        if row is None:
            row = Row(depth, plain(span["name"]))
            found.append(row)
        row.spans.append(span)
        if task and span["kind"] != "work":
            waiting[task] = row
        row.name = _name(span)
    return list(_cut(found))


def _name(span: Mapping[str, Any]) -> str:
    told = span["attributes"]
    name = plain(span["name"])
    if span["kind"] == "work":
        name = f"{name} #{plain(told.get('opscore.task.attempt'))}"
    item = told.get("opscore.item")
    name = name if item is None else f"[{plain(item)}] {name}"
    return (
        f"{name} (fallback {plain(told['opscore.fallback'])})"
        if "opscore.fallback" in told
        else name
    )


def _cut(found: Sequence[Row]) -> Iterable[Row]:
    """Of the rows right below one span no more than `ROWS_SHOWN`, and how many are not shown."""
    groups: dict[str | None, list[Row]] = {}
    for row in found:
        if _leaf(row):
            groups.setdefault(row.spans[0]["parentId"], []).append(row)
    left = {parent: len(group) for parent, group in groups.items()}
    kept = {id(row) for group in groups.values() for row in _worth(group)}
    gone: set[str] = set()
    for row in found:
        if row.spans[0]["parentId"] in gone:
            gone.update(span["spanId"] for span in row.spans)
            continue
        if not _leaf(row) or id(row) in kept:
            yield row
        else:
            gone.update(span["spanId"] for span in row.spans)
        if not _leaf(row):
            continue
        parent = row.spans[0]["parentId"]
        left[parent] -= 1
        more = len(groups[parent]) - ROWS_SHOWN
        if left[parent] == 0 and more > 0:
            yield Row(row.depth, "  " * row.depth + f"({more} more; -o json has all)")


def _worth(group: Sequence[Row]) -> list[Row]:
    return sorted(group, key=lambda row: (not row.critical, not row.failed, -row.seconds))[
        :ROWS_SHOWN
    ]


def _leaf(row: Row) -> bool:
    return row.spans[0]["kind"] in MARKS or row.spans[0]["kind"] == "reported"


def _line(row: Row, scale: Scale, marks: Mapping[str, str], line: str) -> Line:
    star = "* " if row.critical else "  "
    name = "  " * row.depth + row.name
    name = name if len(name) <= NAME else name[: NAME - 1] + "…"
    bold = "bold" if row.critical else ""
    style = "red" if row.failed else bold
    told = [(f"  {_told(row)}", "red" if row.failed else "")]
    return [(star, "bold"), (f"{name:<{NAME}} ", style), *_bar(row, scale, marks, line), *told]


def _bar(row: Row, scale: Scale, marks: Mapping[str, str], line: str) -> Line:
    cells: list[Piece] = [(" ", "")] * scale.columns
    for span in row.spans:
        first, count = scale.place(span)
        kind = span["kind"]
        style = "red" if span["status"] == "error" else STYLES.get(kind, "dim")
        cells[first : first + count] = [(marks.get(kind, line), style)] * count
    return [("".join(text for text, _ in run), style) for style, run in groupby(cells, _style)]


def _style(piece: Piece) -> str:
    return piece[1]


def _told(row: Row) -> str:
    """How long each stretch took, and what went wrong."""
    if not _leaf(row):
        words = [duration(row.seconds)]
    else:
        long = [span for span in row.spans if span["seconds"] >= 0.001] or row.spans[-1:]
        words = [f"{plain(span['kind'])} {duration(span['seconds'])}" for span in long]
        words = [word.removeprefix("reported ") for word in words]
    if row.spans[-1]["endAt"] is None:
        words.append("goes on")
    error = row.spans[-1]["attributes"].get("error.type")
    told = ", ".join(words)
    return told if error is None else f"{plain(error)}: {told}"


def _conclusions(trace: Mapping[str, Any]) -> list[Line]:
    path = trace["criticalPath"]
    spent = [(kind, path[f"{kind}Seconds"]) for kind in (*MARKS, "rest")]
    spent = sorted((one for one in spent if one[1] > 0), key=lambda one: -one[1])
    words = ", ".join(f"{kind} {duration(seconds)}" for kind, seconds in spent)
    lines: list[Line] = [[("critical path  ", "bold"), (words or "no time at all", "")]]
    found = path["bottleneck"]
    if found is not None:
        lines.append([("bottleneck     ", "bold"), (_bottleneck(found, trace), "")])
    lines += [[(text, "")] for text in usage_lines(trace.get("usage"))]
    if trace["truncated"]:
        lines.append([("this session has more events than a trace shows: later ones miss", "red")])
    if "problem" in trace:
        lines.append([(f"without what agents recorded: {plain(trace['problem'])}", "red")])
    return lines


def _bottleneck(found: Mapping[str, Any], trace: Mapping[str, Any]) -> str:
    where = f"step {plain(found['step'])}" if found["step"] else "the session"
    whose = f" ({plain(found['target'])})" if found["target"] else ""
    inside = "" if found["sessionId"] == trace["sessionId"] else f" of {plain(found['sessionId'])}"
    share = f"{found['share']:.0%}"
    return (
        f"{plain(found['kind'])} in {where}{whose}{inside}: {duration(found['seconds'])}, {share}"
    )
