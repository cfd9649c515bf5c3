"""`opscore session show`: one screen about a session, what failed first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opscore.cli.follow import ENDED
from opscore.cli.nextup import Step, command, next_lines
from opscore.cli.output import Columns, fields, table
from opscore.cli.progress import children, counts
from opscore.cli.screen import (
    RECORDS,
    Json,
    complaints,
    error_words,
    failed_lines,
    filled,
    fold,
    heading,
    may_read,
    names_of,
    short_block,
)
from opscore.cli.spending import spent
from opscore.cli.times import ago, took
from opscore.cli.why import waits

if TYPE_CHECKING:
    from opscore.cli.remote import Remote

FAILED_SHOWN = 5
STEPS_SHOWN = 20
_LOUD = frozenset({"failed", "running", "waiting", "compensated", "cancelled"})


@dataclass(frozen=True, slots=True)
class Reading:
    """What the screen is made of."""

    session: Json
    failed: list[Json]
    records: Json | str
    why: Json | str


async def read(server: Remote, session: str) -> Reading:
    """Ask the server for a session and what explains it. Raises `Stop` when it is not known."""
    from opscore.cli.remote import part

    found = await server.get(f"/session/{part(session)}")
    failed: Json | str = {"tasks": []}
    if any(step.get("failed") for step in found["steps"].values()):
        wanted = {"session": session, "status": "failed", "limit": FAILED_SHOWN}
        failed = await may_read(server.get("/task", **wanted))
    wanted = {"session": session, "level": "warning", "limit": RECORDS}
    records = await may_read(server.get("/log", **wanted))
    why: Json | str = {}
    if found["status"] not in ENDED:
        why = await may_read(server.get(f"/session/{part(session)}/why"))
    return Reading(found, [] if isinstance(failed, str) else failed["tasks"], records, why)


def lines(reading: Reading) -> Iterator[str]:
    """The screen: the session, and what to type next."""
    yield from about(reading)
    yield from next_lines(_next(reading))


def about(reading: Reading) -> Iterator[str]:
    """What there is to say of the session."""
    session = reading.session
    yield from fields(_head(session))
    made_good = session["status"] == "completed"
    yield from heading("failed on the way" if made_good else "failed", _failures(reading))
    if isinstance(reading.why, dict):
        yield from heading("waits for", waits(reading.why))
    yield from complaints(reading.records)
    if steps := _steps(session):
        yield from ("", *steps)
    yield from ("", *fields(_facts(session)))
    yield from short_block("input", session.get("input"))
    if session.get("output") is not None:
        yield from short_block("output", session["output"])


def _head(session: Json) -> list[tuple[str, object]]:
    status = session.get("status")
    length = took(session.get("createdAt"), session.get("finishedAt"))
    when = ago(session.get("finishedAt"))
    return [
        ("session", session.get("sessionId")),
        ("workflow", f"{session.get('workflow')} {session.get('version')}"),
        ("status", status),
        ("took", f"{length}, ended {when}" if when else length and f"{length} so far"),
        ("cancelling", True if session.get("cancelling") else None),
        ("waiting for", session.get("waitingFor")),
    ]


def _failures(reading: Reading) -> Iterator[str]:
    session = reading.session
    if session.get("error"):
        yield from fold(f"  {error_words(session['error'])}", 4)
    for name, step in session["steps"].items():
        # A step that tasks failed in says no more than they do.
        if step["status"] == "failed" and not step.get("failed"):
            yield from fold(f"  {name}  {error_words(step.get('error'))}", 4)
    total = sum(step.get("failed", 0) for step in session["steps"].values())
    yield from failed_lines(reading.failed, names_of(reading.records), total)


def _steps(session: Json) -> list[str]:
    every = [{"step": name, **state} for name, state in session["steps"].items()]
    shown = every
    if len(every) > STEPS_SHOWN:
        loud = [step for step in every if step["status"] in _LOUD]
        shown = (loud or every)[:STEPS_SHOWN]
    rest = len(every) - len(shown)
    told = [f"… {rest} more steps; -o json has all"] if rest else []
    return [*table(shown, filled(shown, _STEPS)), *told] if shown else []


def _facts(session: Json) -> list[tuple[str, object]]:
    return [
        ("priority", session.get("priority")),
        ("labels", session.get("labels") or None),
        ("metadata", session.get("metadata") or None),
        ("bound to", session.get("agentId")),
        ("child of", session.get("parent")),
        ("started", session.get("createdAt")),
        ("finished", session.get("finishedAt")),
        ("trace", session.get("traceId")),
        ("callback", _callback(session.get("callback"))),
        *_spent(session.get("usage")),
    ]


def _spent(usage: Any) -> list[tuple[str, object]]:
    """What its attempts told they spent, and how much of it in vain."""
    if not usage:
        return []
    wasted = usage["wasted"]
    told = spent(wasted) if wasted["attempts"] else None
    return [("usage", spent(usage["total"])), ("wasted", told)]


def _callback(callback: Any) -> str | None:
    """How the message about the session's end stands."""
    if not callback:
        return None
    why = f" ({callback['error']})" if callback.get("error") else ""
    return f"{callback['status']} after {callback['tries']} tries: {callback['url']}{why}"


def _next(reading: Reading) -> Iterator[Step]:
    session = reading.session
    name = session["sessionId"]
    if reading.failed:
        task = reading.failed[0]["taskId"]
        yield "why it failed", command("task show", task)
    for child in _failed_children(session):
        yield "what failed inside", command("session show", child)
    yield from _of_status(session, name)
    if isinstance(reading.records, dict) and reading.records.get("records"):
        yield "what was said", command("log", session=name, level="warning")
    yield "where the time went", command("trace", name)


def _failed_children(session: Json) -> list[str]:
    steps = session["steps"].values()
    failed = [step for step in steps if step["status"] == "failed" and step.get("children")]
    return [step["children"][-1] for step in failed][:2]


def _of_status(session: Json, name: str) -> Iterator[Step]:
    status = session["status"]
    if status == "error":
        yield "try again", command("session retry", name)
    elif status == "paused":
        yield "go on", command("session resume", name)
    elif status not in ENDED:
        yield from _asked(session, name)
        yield "follow it", command("session watch", name)
        yield "what holds it up", command("session why", name)


def _asked(session: Json, name: str) -> Iterator[Step]:
    """What people or programs are asked for."""
    for step in session["steps"].values():
        wait: Json = step.get("waitingFor") or {}
        if wait.get("kind") == "approval" and wait.get("name"):
            yield "what is asked", command("approval show", wait["name"])
        if wait.get("kind") == "signal" and wait.get("name"):
            yield "send the signal", command("session signal", name, wait["name"])


def _wait_or_error(step: Any) -> str | None:
    if step.get("error"):
        return error_words(step["error"])
    wait: Json | None = step.get("waitingFor")
    return f"waits for {wait.get('kind')} {wait.get('name') or wait.get('until')}" if wait else None


_STEPS: Columns = [
    ("STEP", "step"),
    ("STATUS", "status"),
    ("TASKS", lambda row: counts(row) or None),
    ("TOOK", lambda row: took(row.get("startedAt"), row.get("finishedAt"))),
    ("CHILD", lambda row: children(row) or None),
    ("WHY", _wait_or_error),
]
