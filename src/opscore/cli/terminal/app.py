"""The operator's terminal itself, in Textual: four panes, one filter, keys as in k9s and lazydocker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import ClassVar, cast

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import DataTable, Footer, Input, RichLog, Static

from opscore.cli import agent_screen, session_screen
from opscore.cli.exits import Stop
from opscore.cli.log import record_line
from opscore.cli.output import plain
from opscore.cli.progress import STYLES
from opscore.cli.remote import Remote, Unreachable, part
from opscore.cli.terminal import board as boards
from opscore.cli.terminal.board import Board, Json, Row
from opscore.cli.terminal.dialogs import Page, Question

LOG_LINES = 2_000
COLOURS = {**STYLES, "active": "cyan", "idle": "green", "offline": "red", "draining": "yellow"}
LEVELS = {"warning": "yellow", "error": "red", "critical": "bold red", "debug": "dim"}
HELP = """\
1 2 3 4, tab   go to agents, sessions, queues, log
j k            down, up
enter          show the agent or session
l              only its log lines; again: everybody's
e              only errors and warnings in the log; again: all
/              filter all panes; escape: no filter
d              drain the agent: it gets no new work (asks first)
a              activate a drained agent again
c              cancel the session (asks first)
p              hold the log still; again: go on
q              leave; nothing that runs is touched
"""
Pane = tuple[str, str, tuple[str, ...], Callable[[Board], list[Row]]]
PANES: tuple[Pane, ...] = (
    ("agents", "1 Agents", boards.AGENT_COLUMNS, boards.agent_rows),
    ("sessions", "2 Sessions", boards.SESSION_COLUMNS, boards.session_rows),
    ("queues", "3 Queues", boards.QUEUE_COLUMNS, boards.queue_rows),
)


class Top(App[None]):
    """`opscore top`. `server` is asked every `interval` seconds; None: only when told to."""

    TITLE = "opscore top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", "quit", show=False, priority=True),
        Binding("question_mark", "help", "help"),
        Binding("slash", "filter", "filter"),
        Binding("escape", "clear_filter", "no filter", show=False),
        Binding("enter", "show", "show", show=False),
        Binding("l", "follow", "its log"),
        Binding("e", "errors", "errors"),
        Binding("p", "hold", "hold log"),
        Binding("d", "drain", "drain"),
        Binding("a", "activate", "activate"),
        Binding("c", "cancel", "cancel"),
        Binding("j", "move(1)", "down", show=False),
        Binding("k", "move(-1)", "up", show=False),
        *(
            Binding(str(place), f"pane('{name}')", name, show=False)
            for place, name in enumerate(("agents", "sessions", "queues", "log"), start=1)
        ),
    ]
    CSS = """
    #title { height: 1; background: $panel; }
    #upper { height: 3fr; }
    #lower { height: 2fr; }
    #log { width: 1fr; overflow-x: hidden; }
    #sessions { width: 1fr; }
    DataTable, RichLog { border: round $panel-lighten-2; height: 1fr; }
    DataTable:focus, RichLog:focus { border: round $accent; }
    #queues { width: 52; }
    #filter { display: none; height: 3; }
    #filter.open { display: block; }
    """

    def __init__(self, server: Remote, where: str, *, interval: float | None = 1.0) -> None:
        super().__init__()
        self._server = server
        self._where = where
        self._interval = interval
        self._filter = ""
        self._board = Board()
        self._problem, self._away = "asking …", True
        self._rows: dict[str, list[Row]] = {}
        self._wanted: dict[str, str] = {}
        self._level = "info"
        self._held = 0
        self._holding = False
        self._listening = False
        # Kept, not looked up: a query sees only the screen on top, which may be a dialog.
        self._heading = Static(id="title")
        self._tables = {name: _table(name) for name, *_ in PANES}
        self._records = RichLog(id="log", max_lines=LOG_LINES, wrap=False)
        self._box = Input(id="filter", placeholder="filter; enter keeps it, escape drops it")

    def compose(self) -> ComposeResult:
        """Title, agents and sessions above queues and log, filter, keys."""
        yield self._heading
        with Horizontal(id="upper"):
            yield self._tables["agents"]
            yield self._tables["sessions"]
        with Horizontal(id="lower"):
            yield self._tables["queues"]
            yield self._records
        yield self._box
        yield Footer()

    async def on_mount(self) -> None:
        """Set up the tables and begin to read."""
        for name, _, columns, _ in PANES:
            self._tables[name].add_columns(*columns)
        self._tables["agents"].focus()
        self._titles()
        if self._interval is not None:
            self.run_worker(self._go_on(self._interval), group="board")

    async def _go_on(self, interval: float) -> None:
        while True:
            await self.read()
            await asyncio.sleep(interval)

    async def read(self) -> None:
        """Read the server once and show it; one that is away leaves the last picture standing."""
        try:
            self._board = await boards.read_board(self._server)
            self._problem = ""
            self._away = False
        except Stop as stop:
            self._problem = stop.lines[0].removeprefix("error: ")
            self._away = isinstance(stop, Unreachable)
        self._draw()
        if not self._listening:  # now that agents have names
            self._listening = True
            self._listen()

    def _draw(self) -> None:
        for name, _, _, rows_of in PANES:
            rows = [row for row in rows_of(self._board) if row.has(self._filter)]
            if rows != self._rows.get(name):
                self._rows[name] = rows
                self._fill(self._tables[name], rows)
        self._titles()

    def _fill(self, table: DataTable[Text], rows: list[Row]) -> None:
        """Put rows in place of the old ones; the cursor stays on the thing it was on."""
        chosen = self._chosen(table)
        place = table.cursor_row
        table.clear()
        for row in rows:
            style = COLOURS.get(row.state, "")
            cells = [Text(cell, style=style if cell == row.state else "") for cell in row.cells]
            table.add_row(*cells, key=row.key)
        keys = [row.key for row in rows]
        if keys:
            table.move_cursor(
                row=keys.index(chosen) if chosen in keys else min(place, len(keys) - 1)
            )

    def _titles(self) -> None:
        state = Text(" ● live ", "green")
        if self._problem:
            state = Text(" ○ away " if self._away else " ○ refused ", "bold red")
        about = Text.assemble((" opscore top ", "bold"), state, plain(self._where))
        if self._problem:
            about.append(f"  {plain(self._problem)}", "red")
        if self._filter:
            about.append(f"  filter: {plain(self._filter)}", "yellow")
        self._heading.update(about)
        for name, title, _, _ in PANES:
            self._tables[name].border_title = f"{title} {len(self._rows.get(name, []))}"
        log = self._records
        whose = f" of {plain(*self._wanted.values())}" if self._wanted else ""
        log.border_title = f"4 Log{whose}, {self._level} and worse"
        log.border_subtitle = f"held: {self._held} more" if self._holding else ""

    @staticmethod
    def _chosen(table: DataTable[Text]) -> str | None:
        if not table.row_count:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def _listen(self) -> None:
        """Begin the live log anew, with what is wanted of it now."""
        self._records.clear()
        self._held = 0
        self.run_worker(self._hear(), group="log", exclusive=True)

    async def _hear(self) -> None:
        while True:
            wanted = {**self._wanted, "level": self._level, "since": "10m"}
            try:
                async with aclosing(self._server.logs(**wanted)) as records:
                    async for kind, told in records:
                        self._say(kind, told)
            except Stop as stop:
                self._write(Text(f"no log: {plain(stop.lines[0])}", "red"))
            await asyncio.sleep(self._interval or 1.0)

    def _say(self, kind: str, told: Json) -> None:
        if kind == "dropped":
            self._write(Text(f"… {told['dropped']:,} dropped: more than can be shown", "yellow"))
        elif kind == "log":
            agent = self._board.by_id.get(told.get("agentId") or "", {})
            known = {
                "at": str(told["at"])[11:19],
                "agent": told.get("agent") or agent.get("agentName"),
            }
            line = record_line({**told, **known}, colours=False)
            if self._filter.lower() in line.lower():
                self._write(Text(line, LEVELS.get(told["level"], "")))

    def _write(self, line: Text) -> None:
        log = self._records
        if self._holding:
            self._held += 1
        log.write(line, scroll_end=not self._holding)

    def action_pane(self, name: str) -> None:
        """Go to a pane."""
        pane = self._records if name == "log" else self._tables[name]
        pane.focus()

    def action_move(self, lines: int) -> None:
        """Move in the pane that has the focus."""
        focused = self.focused
        if isinstance(focused, DataTable):
            focused.move_cursor(row=focused.cursor_row + lines)
        elif isinstance(focused, RichLog):
            focused.scroll_relative(y=lines, animate=False)

    def action_filter(self) -> None:
        """Open the filter."""
        self._box.add_class("open")
        self._box.focus()

    def action_clear_filter(self) -> None:
        """Close the filter and show everything."""
        self._box.value = ""
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed; log lines that came before stay as they are."""
        self._filter = event.value
        self._draw()

    def on_input_submitted(self) -> None:
        """Keep the filter and go back to the tables."""
        self._close_filter()

    def _close_filter(self) -> None:
        self._box.remove_class("open")
        self._tables["agents"].focus()

    def action_errors(self) -> None:
        """Only warnings and errors in the log, or all."""
        self._level = "info" if self._level == "warning" else "warning"
        self._listen()
        self._titles()

    def action_hold(self) -> None:
        """Hold the log still, or go on with it."""
        self._holding, self._held = not self._holding, 0
        if not self._holding:
            self._records.scroll_end(animate=False)
        self._titles()

    def action_follow(self) -> None:
        """Only the log of what is chosen, or everybody's again."""
        found = None if self._wanted else self._thing()
        self._wanted = {found[0]: found[1]} if found else {}
        self._listen()
        self._titles()

    def _thing(self) -> tuple[str, str] | None:
        """What is chosen: an agent or a session, and its id."""
        focused = self.focused
        kind = {"agents": "agent", "sessions": "session"}.get(focused.id or "") if focused else None
        if kind is None or not isinstance(focused, DataTable):
            return None
        chosen = self._chosen(cast("DataTable[Text]", focused))
        return (kind, chosen) if chosen else None

    def on_data_table_row_selected(self) -> None:
        """Enter, or a click on the row that is chosen."""
        self.action_show()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Page("Keys", HELP.splitlines()))

    def action_show(self) -> None:
        """Show the agent or session as its `show` command does."""
        if found := self._thing():
            self.run_worker(self._show(*found), group="show", exclusive=True)

    async def _show(self, kind: str, key: str) -> None:
        async def lines() -> list[str]:
            if kind == "session":
                return list(session_screen.lines(await session_screen.read(self._server, key)))
            agent = self._board.by_id[key]
            return list(agent_screen.lines(await agent_screen.read(self._server, agent)))

        try:
            await self.push_screen(Page(plain(key), await lines()))
        except Stop as stop:
            self._complain(stop)

    def action_drain(self) -> None:
        """Drain the agent that is chosen, once somebody says yes."""
        self._change("agent", "drain", "Its tasks in flight go on; it gets no new ones.")

    def action_activate(self) -> None:
        """Give the agent that is chosen work again."""
        self._change("agent", "activate", "It gets tasks again.")

    def action_cancel(self) -> None:
        """Cancel the session that is chosen, once somebody says yes."""
        self._change("session", "cancel", "Nothing new starts, and what runs is told to stop.")

    def _change(self, kind: str, verb: str, meaning: str) -> None:
        found = self._thing()
        if found is None or found[0] != kind:
            self.notify(f"choose one of the {kind}s first", severity="warning", markup=False)
            return
        thing = self._board.by_id[found[1]]
        name = plain(thing.get("agentName") or f"{thing['workflow']} {found[1]}")

        async def ask() -> None:
            question = Question(f"{verb} {kind}", f"{verb} {name}?\n{meaning}")
            if await self.push_screen_wait(question):
                await self._do(self._order(kind, found[1], verb), f"{name}: {verb}")

        self.run_worker(ask(), group="change", exclusive=True)

    async def _order(self, kind: str, key: str, verb: str) -> None:
        # Activating takes no body: there is nothing to say about it.
        body = None if verb == "activate" else {"reason": "asked for in opscore top"}
        await self._server.post(f"/{kind}/{part(key)}/{verb}", body)

    async def _do(self, change: Awaitable[None], words: str) -> None:
        try:
            await change
        except Stop as stop:
            self._complain(stop)
            return
        self.notify(words, markup=False)
        await self.read()

    def _complain(self, stop: Stop) -> None:
        self.notify("\n".join(map(plain, stop.lines)), severity="error", markup=False)


def _table(name: str) -> DataTable[Text]:
    return DataTable(id=name, cursor_type="row", zebra_stripes=False, cell_padding=1)
