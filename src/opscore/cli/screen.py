"""What the one-screen views share: failures first, short documents, lines that fit.

Every text from a server passes `plain`; every list is bounded, and says how to see the rest.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

from opscore.cli.exits import Stop
from opscore.cli.output import Columns, encode, plain, shown_of
from opscore.cli.times import ago

Json = dict[str, Any]

GROUPS_SHOWN = 6
LINES_SHOWN = 10
NARROW = 40
"""Text is not folded to fewer columns than this."""
RECORDS = 200
"""So many of the newest log records are grouped."""
TOLD_ELSEWHERE = frozenset({"task.failed", "session.failed", "session.stopping"})
"""What the failures above already say."""


async def may_read(answer: Awaitable[Json]) -> Json | str:
    """An answer that a screen can do without; else, why there is none."""
    from opscore.cli.remote import Unreachable

    try:
        return await answer
    except Unreachable:
        raise
    except Stop as stop:
        return stop.lines[0].removeprefix("error: ") if stop.lines else "refused"


def fold(text: str, indent: int) -> list[str]:
    """A line that was made harmless, folded to the terminal; what follows stands `indent` in."""
    if not sys.stdout.isatty():
        return [text]
    width = max(shutil.get_terminal_size().columns, NARROW)
    hang = " " * min(indent, width // 3)
    return textwrap.wrap(text, width, subsequent_indent=hang, break_on_hyphens=False) or [""]


def short_block(title: str, value: object) -> list[str]:
    """A JSON value under a title: its first lines, and how many more there are."""
    lines = encode(value, indent=2).split("\n")
    shown = [line for one in lines[:LINES_SHOWN] for line in fold(f"  {one}", 4)]
    if more := len(lines) - LINES_SHOWN:
        shown += [f"  … {more} more lines; -o json has all"] if more > 0 else []
    return ["", f"{title}:", *shown]


def complaints(answer: Json | str) -> list[str]:
    """Log records from warnings on, alike ones as one line, the newest first."""
    if isinstance(answer, str):
        return ["", *fold(f"log records cannot be read: {plain(answer)}", 2)]
    groups: dict[tuple[str, str], list[Json]] = {}
    for record in answer.get("records", []):
        if record["operation"] not in TOLD_ELSEWHERE:
            groups.setdefault((_who(record), _what(record)), []).append(record)
    shown = list(groups.items())[:GROUPS_SHOWN]
    lines = [line for (who, what), records in shown for line in _group(who, what, records)]
    if len(groups) > GROUPS_SHOWN:
        lines.append(f"  … and {len(groups) - GROUPS_SHOWN} other kinds")
    return ["", "warnings", *lines] if lines else []


def _group(who: str, what: str, records: Sequence[Json]) -> list[str]:
    count = f"{len(records)} × " if len(records) > 1 else ""
    tasks = list(dict.fromkeys(one["taskId"] for one in records if one.get("taskId")))
    lines = fold(f"  {count}{what}", 4)
    where = [who, ago(records[0]["at"]) or "", plain(tasks[-1]) if tasks else ""]
    if len(tasks) > 1:
        where[-1] += f" and {len(tasks) - 1} more"
    return [*lines, *fold("    " + ", ".join(filter(None, where)), 4)]


def _who(record: Json) -> str:
    return plain(record.get("agent") or record.get("agentId") or "server")


def _what(record: Json) -> str:
    operation = plain(record.get("errorType") or record["operation"])
    return f"{operation}: {plain(record['message'])}"


def heading(title: str, lines: Iterable[str]) -> list[str]:
    """Lines under a title; nothing when there are none."""
    shown = list(lines)
    return ["", title, *shown] if shown else []


def filled(rows: Sequence[Json], columns: Columns) -> Columns:
    """The columns in which any row has something: the others take the room of those that count."""
    return [one for one in columns if any(shown_of(row, one[1]) is not None for row in rows)]


def step_of(task: Any) -> str:
    """Which step a task is of, with its item: `measure[31]`."""
    index = task.get("index")
    return plain(task.get("step", "")) + ("" if index is None else f"[{plain(index)}]")


def failed_lines(tasks: Sequence[Json], names: dict[str, str], total: int) -> list[str]:
    """Tasks that failed, each with its error; `total` of them there are."""
    lines: list[str] = []
    for task in tasks:
        lines += fold(f"  {step_of(task)}  {error_words(task.get('error'))}", 4)
        agent = task.get("agentId") or task.get("agent")
        by = f" by {plain(names.get(agent, agent))}" if agent else ""
        lines += fold(f"    {plain(task['taskId'])}, attempt {plain(task['attempt'])}{by}", 4)
    if total > len(tasks):
        lines.append(f"  … and {total - len(tasks)} more")
    return lines


def error_words(error: Any) -> str:
    """An error as `class: message`, made harmless."""
    if not error:
        return "no reason is known"
    return f"{plain(error.get('class', 'error'))}: {plain(error.get('message', ''))}"


def names_of(answer: Json | str) -> dict[str, str]:
    """Names of agents, by id, as log records tell them."""
    records: list[Json] = [] if isinstance(answer, str) else answer.get("records", [])
    return {one["agentId"]: one["agent"] for one in records if one.get("agent")}
