"""How a session that runs is shown: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from opscore.cli.output import coloured, plain, say

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

LINE_SECONDS = 2.0
"""A step's counts are told again at most this often; its status at once."""
STYLES = {"completed": "green", "failed": "red", "running": "cyan", "cancelled": "magenta"}


class View(Protocol):
    """Shows readings of a session, on stderr."""

    async def look(self, session: Any) -> None:
        """Show a reading."""
        ...


@contextmanager
def showing() -> Generator[View]:
    """The view that fits stderr: live on a terminal, else lines."""
    if not sys.stderr.isatty():
        yield LineView()
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, no_color=not coloured(sys.stderr), highlight=False)
    with Live(console=console, refresh_per_second=8, transient=False) as live:
        yield LiveView(live)


class LineView:
    """One line for every change of a step's status, and now and then its counts."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, str]] = {}
        self._quiet_until: dict[str, float] = {}

    async def look(self, session: Any) -> None:
        """Tell what changed since the last reading."""
        self._tell("session", session["status"], session.get("waitingFor") or "")
        for name, step in session.get("steps", {}).items():
            if step["status"] != "pending":
                self._tell(f"step {name}", step["status"], counts(step))

    def _tell(self, name: str, status: str, rest: str) -> None:
        now = asyncio.get_running_loop().time()
        old_status, old_rest = self._told.get(name, ("", ""))
        same = status == old_status
        if same and (rest == old_rest or now < self._quiet_until.get(name, 0.0)):
            return
        self._told[name] = (status, rest)
        self._quiet_until[name] = now + LINE_SECONDS
        say(f"{name}: {status} {rest}".rstrip())


class LiveView:
    """A table of the steps that rich redraws in place."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def look(self, session: Any) -> None:
        """Redraw with a new reading."""
        self._live.update(_drawn(session))


def _drawn(session: Any) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = f"{session['workflow']} {session['version']}  {session['sessionId']}"
    waiting = f" (waiting for {session['waitingFor']})" if session.get("waitingFor") else ""
    title = Text(plain(f"{head}  {session['status']}{waiting}"), style="bold")
    drawn = Table(title=title, title_justify="left", box=None, header_style="dim")
    for heading in ("STEP", "STATUS", "", "TASKS"):
        drawn.add_column(heading)
    for name, step in session.get("steps", {}).items():
        total = max(step.get("total", 0), 1)
        bar = ProgressBar(total=total, completed=step.get("completed", 0), width=24)
        status = Text(plain(step["status"]), style=STYLES.get(step["status"], ""))
        drawn.add_row(Text(plain(name)), status, bar, Text(plain(counts(step))))
    return drawn


def counts(step: Any) -> str:
    """A step's tasks in words: `12/40, 3 running, 1 failed`; `iteration 2 of 5` of a `repeat`."""
    total = step.get("total", 0)
    if not total:
        return ""
    words = [f"{step.get('completed', 0)}/{total}"]
    if step.get("iteration"):
        words = [f"iteration {step['iteration']} of {step['iterations']}"]
    words += [f"{step[name]} {name}" for name in ("running", "failed") if step.get(name)]
    return ", ".join(words)


def children(step: Any) -> str:
    """A step's child sessions: the id of the last one, and how many came before it."""
    ids: list[str] = step.get("children") or []
    if not ids:
        return ""
    return ids[-1] if len(ids) == 1 else f"{ids[-1]} and {len(ids) - 1} before"
