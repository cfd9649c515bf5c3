"""`opscore task show`: one screen about a task, with every attempt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opscore.cli.log import record_line
from opscore.cli.nextup import Step, command, next_lines
from opscore.cli.output import Columns, fields, plain, table
from opscore.cli.screen import (
    Json,
    error_words,
    filled,
    fold,
    heading,
    may_read,
    names_of,
    short_block,
    step_of,
)
from opscore.cli.spending import cost
from opscore.cli.times import ago, took
from opscore.cli.why import waits

if TYPE_CHECKING:
    from opscore.cli.remote import Remote

OPEN = frozenset({"scheduled", "available", "running"})
ATTEMPTS_SHOWN = 12
RECORDS_SHOWN = 6
_OF_ATTEMPTS = frozenset({"task.retried", "task.failed", "task.released"})
DEAD_LETTERS = 500


@dataclass(frozen=True, slots=True)
class Reading:
    """What the screen is made of. `dead`: it was given up, and can be tried again."""

    task: Json
    dead: bool
    records: Json | str
    why: Json | str


async def read(server: Remote, task: str) -> Reading:
    """Ask the server for a task and what explains it. Raises `Stop` when it is not known."""
    from opscore.cli.remote import part

    found = await server.get(f"/task/{part(task)}")
    records = await may_read(server.get("/log", task=task, limit=50))
    why: Json | str = {}
    if found["status"] in OPEN:
        why = await may_read(server.get(f"/task/{part(task)}/why"))
    dead = found["status"] == "failed" and await _is_dead(server, found)
    return Reading(found, dead, records, why)


async def _is_dead(server: Remote, task: Json) -> bool:
    wanted = {"session": task["sessionId"], "dead": True, "limit": DEAD_LETTERS}
    answer = await may_read(server.get("/task", **wanted))
    every: list[Json] = [] if isinstance(answer, str) else answer["tasks"]
    return task["taskId"] in {one["taskId"] for one in every}


def lines(reading: Reading) -> Iterator[str]:
    """The screen."""
    task = reading.task
    yield from fields(_head(task))
    if task.get("error"):
        yield from heading("failed", fold(f"  {error_words(task['error'])}", 4))
    if isinstance(reading.why, dict):
        yield from heading("waits for", waits(reading.why))
    yield from _attempts(task, names_of(reading.records))
    yield from heading("said last", _said(reading.records))
    yield from ("", *fields(_facts(task)))
    yield from short_block("input", task.get("input"))
    if task.get("output") is not None:
        yield from short_block("output", task["output"])
    yield from next_lines(_next(reading))


def _head(task: Json) -> list[tuple[str, object]]:
    progress = task.get("progress")
    length = took(task.get("createdAt"), task.get("finishedAt"))
    when = ago(task.get("finishedAt"))
    return [
        ("task", task.get("taskId")),
        ("session", task.get("sessionId")),
        ("step", step_of(task)),
        ("status", task.get("status")),
        ("took", f"{length}, ended {when}" if when else length and f"{length} so far"),
        ("progress", None if progress is None else f"{progress:.0%}"),
        ("message", task.get("progressMessage") or None),
    ]


def _attempts(task: Json, names: dict[str, str]) -> list[str]:
    every: list[Json] = task.get("attemptHistory") or []
    if not every:
        return []
    shown = [
        {**one, "agent": names.get(one["agentId"], one["agentId"])}
        for one in every[-ATTEMPTS_SHOWN:]
    ]
    more = len(every) - len(shown)
    return [
        "",
        *([f"… {more} earlier attempts"] if more else []),
        *table(shown, filled(shown, _ATTEMPTS)),
    ]


def _said(answer: Json | str) -> Iterator[str]:
    """The last log records, oldest first, without what the attempts above tell."""
    if isinstance(answer, str):
        yield from fold(f"  log records cannot be read: {plain(answer)}", 4)
        return
    told = [one for one in answer["records"] if one["operation"] not in _OF_ATTEMPTS]
    for record in told[:RECORDS_SHOWN][::-1]:
        yield from fold(f"  {record_line(record)}", 4)


def _facts(task: Json) -> list[tuple[str, object]]:
    return [
        ("needs", task.get("capability")),
        ("agent", task.get("agent")),
        ("fallback", task.get("member") or None),
        ("priority", task.get("priority")),
        ("failures", task.get("failures")),
        ("due", task.get("dueAt")),
        ("created", task.get("createdAt")),
        ("finished", task.get("finishedAt")),
    ]


def _next(reading: Reading) -> Iterator[Step]:
    task = reading.task
    name, status = task["taskId"], task["status"]
    if reading.dead:
        yield "try again", command("task retry", name)
    if status in OPEN:
        yield "what holds it up", command("task why", name)
    if status == "running":
        yield "what it says", command("log --follow", task=name)
    elif isinstance(reading.records, dict) and reading.records.get("records"):
        yield "what was said", command("log", task=name)
    history: list[Json] = task.get("attemptHistory") or []
    if history and history[-1].get("outcome") == "failed":
        yield "who failed", command("agent show", history[-1]["agentId"])
    yield "the whole session", command("session show", task["sessionId"])


def _error(row: Any) -> str | None:
    return error_words(row["error"]) if row.get("error") else None


_ATTEMPTS: Columns = [
    ("ATTEMPT", "attempt"),
    ("AGENT", "agent"),
    ("INSTANCE", "instanceId"),
    ("TOOK", lambda row: took(row.get("startedAt"), row.get("endedAt"))),
    ("OUTCOME", lambda row: row.get("outcome") or "running"),
    ("HTTP", "httpStatus"),
    ("COST", lambda row: cost(row["usage"]) if row.get("usage") else None),
    ("ERROR", _error),
]
