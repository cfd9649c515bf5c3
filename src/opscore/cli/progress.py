"""How a session that runs is shown: a live graph on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from opscore.cli.graph import Needs, Node, drawn
from opscore.cli.log import record_line
from opscore.cli.output import coloured, plain, say
from opscore.cli.times import took

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

LINE_SECONDS = 2.0
"""A step's counts are told again at most this often; its status at once."""
STYLES = {
    "completed": "green",
    "failed": "red",
    "running": "cyan",
    "waiting": "yellow",
    "cancelled": "magenta",
    "processing": "cyan",
    "error": "red",
    "paused": "yellow",
}
MARKS = {"completed": "✓", "failed": "✗", "running": "●", "waiting": "◔", "skipped": "–"}
ASCII_MARKS = {"completed": "+", "failed": "x", "running": "*", "waiting": "~", "skipped": "-"}
LINES = ("│ ", "├─", "└─", "  ")
ASCII_LINES = ("| ", "|-", "`-", "  ")
STEPS_SHOWN = 30
ATTEMPTS_SHOWN = 3
"""Of one step, and those that were tried before first."""
ROOM_FOR_BARS = 76
BAR = 16


@dataclass(frozen=True, slots=True)
class Look:
    """A session at one moment. `needs`: what its steps need, `running`: some tasks that run."""

    session: Any
    needs: Needs = field(default_factory=dict[str, tuple[str, ...]])
    running: tuple[Any, ...] = ()


class View(Protocol):
    """Shows a session on stderr. `detailed`: it draws what each step needs, and attempts."""

    detailed: bool

    async def look(self, look: Look) -> None:
        """Show how it is now."""
        ...

    def said(self, record: Any) -> None:
        """Show a log record among it."""
        ...

    def note(self, words: str) -> None:
        """Tell something about the watching itself."""
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
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        yield LiveView(live)


class LineView:
    """One line for every change of a step's status, and now and then its counts."""

    detailed = False

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, str]] = {}
        self._quiet_until: dict[str, float] = {}

    async def look(self, look: Look) -> None:
        """Tell what changed since the last reading."""
        session = look.session
        self._tell("session", session["status"], session.get("waitingFor") or "")
        for name, step in session.get("steps", {}).items():
            if step["status"] != "pending":
                self._tell(f"step {name}", step["status"], counts(step))

    def said(self, record: Any) -> None:
        """One line."""
        say(line_of(record))

    def note(self, words: str) -> None:
        """One line."""
        say(words)

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
    """The graph of the steps, which rich redraws in place; log lines scroll away above it."""

    detailed = True

    def __init__(self, live: Live) -> None:
        self._live = live

    async def look(self, look: Look) -> None:
        """Redraw with a new reading."""
        self._live.update(Picture(look))

    def said(self, record: Any) -> None:
        """Above the graph."""
        from rich.text import Text

        style = {"warning": "yellow", "error": "red", "critical": "red"}
        text = Text(line_of(record), style=style.get(record["level"], "dim"))
        self._live.console.print(text, no_wrap=True, overflow="ellipsis", crop=True)

    def note(self, words: str) -> None:
        """Above the graph."""
        from rich.text import Text

        self._live.console.print(Text(plain(words), style="dim"))


def line_of(record: Any) -> str:
    """A log record without its day and the session, which are known."""
    known = {"at": str(record["at"])[11:19], "sessionId": None}
    return record_line({**record, **known}, colours=False)


@dataclass(frozen=True, slots=True)
class Picture:
    """A look as rich draws it: times go on while nothing is read."""

    seen: Look

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The title, then the graph."""
        from rich.text import Text

        session = self.seen.session
        title = Text(plain(f"{session['workflow']} {session['version']}"), style="bold")
        title.append(f"  {plain(session['sessionId'])}  ", style="dim")
        status = plain(session["status"])
        title.append(status, style=STYLES.get(status, ""))
        if session.get("waitingFor"):
            title.append(f" (waiting for {plain(session['waitingFor'])})")
        title.append(f"  {took(session.get('createdAt'), session.get('finishedAt')) or ''}")
        yield title
        yield self._graph(options.max_width, options.ascii_only)

    def _graph(self, width: int, ascii_only: bool) -> Table:
        from rich.table import Table
        from rich.text import Text

        steps = self.seen.session.get("steps", {})
        nodes = drawn(steps, self.seen.needs)
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=width // 2)
        table.add_column(no_wrap=True, min_width=9)
        for _ in range(3):
            table.add_column(no_wrap=True, overflow="ellipsis")
        shown = _shown(nodes, steps)
        for node in shown:
            step = steps[node.name]
            name = Text(_branch(node, ascii_only), style="dim")
            name.append_text(_name(node, step, ascii_only))
            table.add_row(
                name,
                Text(plain(step["status"]), style=STYLES.get(step["status"], "")),
                _bar(step) if width >= ROOM_FOR_BARS else "",
                Text(plain(counts(step))),
                Text(took(step.get("startedAt"), step.get("finishedAt")) or "", style="dim"),
            )
            for task in self._of(node.name):
                table.add_row(*_attempt(node, task, ascii_only))
        if len(nodes) > len(shown):
            table.add_row(Text(f"… {len(nodes) - len(shown)} more steps", style="dim"))
        return table

    def _of(self, step: str) -> list[Any]:
        mine = [task for task in self.seen.running if task["step"] == step]
        mine.sort(key=lambda task: -task["attempt"])
        return mine[:ATTEMPTS_SHOWN]


def _shown(nodes: list[Node], steps: Any) -> list[Node]:
    """All, or where there is no room for them those that something happens to."""
    if len(nodes) <= STEPS_SHOWN:
        return nodes
    quiet = {"completed", "pending", "skipped"}
    loud = [node for node in nodes if steps[node.name]["status"] not in quiet]
    return (loud or nodes)[:STEPS_SHOWN]


def _branch(node: Node, ascii_only: bool) -> str:
    on, fork, end, none = ASCII_LINES if ascii_only else LINES
    if not node.guides:
        return ""
    above = "".join(on if guide else none for guide in node.guides[1:])
    return above + (end if node.last else fork)


def _name(node: Node, step: Any, ascii_only: bool) -> Text:
    from rich.text import Text

    marks = ASCII_MARKS if ascii_only else MARKS
    mark = marks.get(step["status"], "o" if ascii_only else "○")
    name = Text(f"{mark} ", style=STYLES.get(step["status"], "dim"))
    name.append(plain(node.name), style="bold" if step["status"] == "running" else "")
    if node.also:
        name.append(f" (and after {', '.join(map(plain, node.also))})", style="dim")
    return name


def _bar(step: Any) -> Any:
    from rich.progress_bar import ProgressBar

    total = step.get("total", 0)
    return ProgressBar(total=total, completed=step.get("completed", 0), width=BAR) if total else ""


def _attempt(node: Node, task: Any, ascii_only: bool) -> list[Any]:
    """A task that runs: which item, which attempt, where, and what it says."""
    from rich.text import Text

    on, _, _, none = ASCII_LINES if ascii_only else LINES
    above = "".join(on if guide else none for guide in (*node.guides, not node.last)[1:])
    item = "" if task.get("index") is None else f"[{plain(task['index'])}] "
    where = plain(task.get("instanceId") or task.get("agentId") or "")
    words = f"{above}    {item}#{plain(task['attempt'])} on {where}"
    progress = task.get("progress")
    told = [] if progress is None else [f"{progress:.0%}"]
    told += [plain(task["progressMessage"])] if task.get("progressMessage") else []
    style = "yellow" if task["attempt"] > 1 else "dim"
    return [Text(words, style=style), "", "", Text(" ".join(told), style="dim"), ""]


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
