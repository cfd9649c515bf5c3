"""How a session that was followed ends a command: its output, its error, its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from opscore.cli import exits
from opscore.cli.follow import EventLines, follow
from opscore.cli.nextup import command
from opscore.cli.output import complain, print_json, say
from opscore.cli.progress import showing
from opscore.cli.watching import watch

if TYPE_CHECKING:
    from opscore.cli.remote import Remote
    from opscore.cli.settings import OutputFormat


async def watch_to_end(
    server: Remote, session_id: str, form: OutputFormat, limit: float | None
) -> int:
    """Follow a session, print its outcome and return the exit code that stands for it.

    Tables: progress on stderr, the output on stdout. `json`: the whole session on stdout.
    `jsonl`: its events on stdout, as they come.
    """
    if form == "jsonl":
        ended = await follow(server, session_id, EventLines(server).look, limit=limit)
    else:
        with showing() as view:
            ended = await watch(server, session_id, view, limit=limit)
    if form == "json":
        print_json(ended)
    elif form == "table" and ended["status"] == "completed":
        print_json(ended.get("output"))
    if ended["status"] == "completed":
        return exits.OK
    complain(*_why_not(ended))
    return exits.SESSION_FAILED


def _why_not(session: Any) -> Iterator[str]:
    name = session["sessionId"]
    if session["status"] == "cancelled":
        yield f"{name} was cancelled"
        return
    yield f"error: {name} failed: {error_text(session.get('error')) or 'no reason is known'}"
    for step, state in session.get("steps", {}).items():
        if state["status"] == "failed":
            yield f"  step {step}: {error_text(state.get('error')) or 'failed'}"
    yield f"  look closer: {command('session show', name)}"
    yield f"  try the failed steps again: {command('session retry', name)}"


def error_text(error: Any) -> str | None:
    """An error as `class: message`; None for none."""
    if not error:
        return None
    return f"{error.get('class', 'error')}: {error.get('message', '')}"


def say_secret(started: Any) -> None:
    """Tell what signs the callback of a session, when it has one: nobody is told again."""
    if secret := started.get("callbackSecret"):
        say(f"the callback is signed with {secret}", "  keep it: it is shown only now")


def detached(session_id: str) -> None:
    """Tell somebody who pressed Ctrl-C that the session goes on, and how to stop it."""
    say(
        "",
        f"detached; {session_id} goes on",
        f"  follow it: {command('session watch', session_id)}",
        f"  cancel it: {command('session cancel', session_id)}",
    )
