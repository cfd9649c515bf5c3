"""What a person sees: a live view on a terminal, plain lines elsewhere, and the same words in both.

rich is loaded here and nowhere else in the demo.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from opscore.wire.agent import AgentView
    from opscore.wire.session import StepView

MARKS = 5
"""Plain lines tell of progress so many times."""
FRAME_LINES = 8
"""What the live view needs besides agents, steps and lines told."""
STYLES = {
    "idle": "green",
    "completed": "green",
    "up": "green",
    "active": "cyan",
    "running": "cyan",
    "offline": "red",
    "failed": "red",
    "killed": "red",
}


def shown(text: object) -> str:
    """Text on one line: what is not printable (in a file's name, say) becomes visible."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def counted(number: int, noun: str) -> str:
    """`1 file`, `1,790 files`, `2 retries`."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else many}"


@dataclass(slots=True)
class Picture:
    """What the live view shows at one moment."""

    title: str = ""
    server: str = ""
    agents: Sequence[AgentView] = ()
    away: bool = False
    killed: set[str] = field(default_factory=set[str])
    steps: dict[str, StepView] = field(default_factory=dict[str, "StepView"])
    told: list[Text] = field(default_factory=list[Text])


class Screen:
    """Says lines, and draws a picture while `live`."""

    def __init__(self, *, to_stderr: bool) -> None:
        stream = sys.stderr if to_stderr else sys.stdout
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
        self._console = Console(stderr=to_stderr, highlight=False, markup=False)
        self._begun = time.monotonic()
        self._live: Live | None = None
        self._marks = 0
        self.picture = Picture()

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._begun

    def say(self, text: str, style: str = "") -> None:
        """One line, with the time since the beginning."""
        line = Text.assemble((f"{self.seconds:5.1f} s  ", "dim"), (text, style))
        if self._live is None:
            self._console.print(line, soft_wrap=not self._console.is_terminal)
            return
        self.picture.told.append(line)
        self.draw()

    def lines(self, lines: Sequence[str | Text]) -> None:
        """Text is wrapped on a terminal; a plain string (a command to copy) never is."""
        for line in lines:
            whole = isinstance(line, str) or not self._console.is_terminal
            self._console.print(Text(line) if isinstance(line, str) else line, soft_wrap=whole)

    @contextmanager
    def live(self) -> Generator[None]:
        """Draw in place until the block is left; without a terminal nothing is drawn."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield
            return
        with Live(
            get_renderable=self._frame,
            console=self._console,
            auto_refresh=False,
            vertical_overflow="crop",
        ) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None  # so that the last frame has all lines

    def draw(self) -> None:
        """Show the picture as it is now."""
        if self._live is not None:
            self._live.refresh()
            return
        step = self.picture.steps.get("measure")
        if step is not None and step.completed * MARKS // max(step.total, 1) > self._marks:
            self._marks = step.completed * MARKS // step.total
            self.say(f"measure: {step.completed:,} of {step.total:,} files")

    def _frame(self) -> Group:
        picture = self.picture
        return Group(
            Text(f"\n{picture.title}", style="bold"),
            _agents(picture),
            Text(),
            _steps(picture),
            Text(),
            *self._latest(),
            Text(),
        )

    def _latest(self) -> list[Text]:
        """The last lines that fit on the screen while it changes; in the end all of them."""
        if self._live is None:
            return self.picture.told
        width, height = self._console.size
        room = height - FRAME_LINES - len(self.picture.agents) - len(self.picture.steps)
        latest: list[Text] = []
        for line in reversed(self.picture.told):
            room -= -(-line.cell_len // width)
            if room < 0:
                break
            latest.insert(0, line)
        return latest


def _agents(picture: Picture) -> Table:
    table = _table("AGENT", "STATE", "AT WORK ON", "PROCESSES")
    word, _, rest = picture.server.partition(" ")
    table.add_row(Text("(server)"), _word(word), Text(""), Text(rest))
    for agent in picture.agents:
        table.add_row(
            Text(shown(agent.agent_name)),
            _word("?" if picture.away else agent.state),
            Text("" if picture.away else f"{agent.in_flight}"),
            _instances(agent, picture.killed),
        )
    return table


def _instances(agent: AgentView, killed: set[str]) -> Text:
    text = Text()
    for one in sorted(agent.instances, key=lambda one: one.instance_id):
        style = "strike red" if one.instance_id in killed else "" if one.online else "dim"
        text.append(shown(one.instance_id), style)
        text.append(" ")
    return text


def _steps(picture: Picture) -> Table:
    table = _table("STEP", "STATUS", "", "DONE")
    for name, step in picture.steps.items():
        bar = ProgressBar(total=max(step.total, 1), completed=step.completed, width=30)
        counts = f"{step.completed:,}/{step.total:,}" if step.status != "pending" else ""
        table.add_row(Text(shown(name)), _word(step.status), bar, Text(counts))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _word(word: str) -> Text:
    return Text(shown(word), STYLES.get(word, "dim"))
