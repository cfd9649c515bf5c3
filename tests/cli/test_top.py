"""The operator's terminal, driven by Textual's own pilot against a server on a real socket."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib import util
from typing import Any, cast

import pytest
from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, RichLog, Static

from opscore.cli import exits
from opscore.cli.remote import connect
from opscore.cli.settings import Common
from opscore.cli.terminal.app import Top
from opscore.cli.terminal.board import agent_rows, queue_rows, read_board, session_rows
from opscore.cli.terminal.dialogs import Page, Question
from opscore.wire.log import LogPage
from opscore.wire.queue import QueuePage, QueueView
from opscore.wire.session import SessionPage
from opscore.wire.task import TaskPage
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer, Seen
from tests.cli.test_hostile import ALL, harmless
from tests.hostile import poisoned

STREAM = b"".join(
    b'event: log\nid: %d\ndata: {"logId": %d, "at": "2026-04-01T12:00:00Z", "level": "error", '
    b'"operation": "task.failed", "namespace": "default", "message": "no %d", '
    b'"agentId": "agt_1"}\n\n' % (number, number, number)
    for number in (1, 2)
)


@pytest.fixture
def fleet(server: FakeServer) -> FakeServer:
    idle = samples.agent("idler", "agt_1")
    lost = samples.agent("loser", "agt_2", state="offline", last_error="boom")
    server.on("GET /agent", samples.agents(idle, lost))
    first = samples.summary("ses_1", workflow="greet")
    second = samples.summary("ses_2", workflow="other", status="paused")
    server.on("GET /session", SessionPage(sessions=[first, second]))
    queue = QueueView(
        capability="sum", available=7, blocked=1, running=2, scheduled=3, oldest_seconds=61.0
    )
    server.on("GET /queue", QueuePage(queues=[queue]))
    server.on("GET /log/stream", STREAM, Content_Type="text/event-stream")
    return server


@asynccontextmanager
async def opened(server: FakeServer, *, width: int = 120) -> AsyncGenerator[Pilot[None]]:
    """The terminal with a first reading; it reads again only when told to."""
    async with connect(Common(url=server.url)) as remote:
        app = Top(remote, server.url, interval=None)
        async with app.run_test(size=(width, 40), notifications=True) as pilot:
            await app.read()
            await pilot.pause()
            yield pilot


def top(pilot: Pilot[None]) -> Top:
    return cast("Top", pilot.app)


def table(pilot: Pilot[None], name: str) -> list[list[str]]:
    found = cast("DataTable[Text]", top(pilot).query_one(f"#{name}", DataTable))
    return [[str(cell) for cell in found.get_row_at(row)] for row in range(found.row_count)]


def title(pilot: Pilot[None]) -> str:
    return str(top(pilot).query_one("#title", Static).render())


def orders(server: FakeServer) -> list[Seen]:
    """What was asked to change."""
    return [seen for seen in server.seen if seen.method == "POST"]


async def ask(pilot: Pilot[None], *keys: str) -> Question:
    """Press keys that bring a question up."""
    await pilot.press(*keys)
    await until(pilot, lambda: isinstance(top(pilot).screen, Question))
    return cast("Question", top(pilot).screen)


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    """Let the terminal work until something holds (the test's time limit is the bound)."""
    while not holds():
        await pilot.pause(0.01)


async def test_it_shows_agents_sessions_queues_and_the_log(fleet: FakeServer) -> None:
    async with opened(fleet) as pilot:
        assert [row[:3] for row in table(pilot, "agents")] == [
            ["loser", "offline", "1/4"],
            ["idler", "idle", "1/4"],
        ], "what is wrong stands first"
        assert table(pilot, "agents")[0][4] == "boom"
        assert [(row[0], row[4]) for row in table(pilot, "sessions")] == [
            ("processing", "ses_1"),
            ("paused", "ses_2"),
        ]
        assert table(pilot, "queues") == [["sum", "7", "1 min", "2", "4"]]
        log = top(pilot).query_one(RichLog)
        await until(pilot, lambda: len(log.lines) >= 2)
        assert "idler" in log.lines[0].text and "no 1" in log.lines[0].text
        assert "live" in title(pilot)


async def test_a_server_that_goes_away_leaves_the_last_picture(fleet: FakeServer) -> None:
    async with opened(fleet) as pilot:
        fleet.refuse("GET /agent", 503, "starting")
        await top(pilot).read()
        assert "refused" in title(pilot) and "starting" in title(pilot)
        assert len(table(pilot, "agents")) == 2
        fleet.on("GET /agent", samples.agents(samples.agent("back", "agt_3")))
        await top(pilot).read()
        assert "live" in title(pilot)
        assert [row[0] for row in table(pilot, "agents")] == ["back"]


async def test_nobody_answers_at_all() -> None:
    async with connect(Common(url="http://127.0.0.1:1")) as remote:
        app = Top(remote, "nowhere", interval=None)
        async with app.run_test() as pilot:
            await app.read()
            assert "away" in title(pilot)


async def test_the_filter_is_one_for_all_panes(fleet: FakeServer) -> None:
    async with opened(fleet) as pilot:
        await pilot.press("slash", *"oth")
        assert [row[4] for row in table(pilot, "sessions")] == ["ses_2"]
        assert table(pilot, "agents") == []
        await pilot.press("enter")
        assert "filter: oth" in title(pilot)
        assert not isinstance(top(pilot).focused, Input)
        await pilot.press("escape")
        assert len(table(pilot, "agents")) == 2


async def test_an_agent_is_drained_once_somebody_says_yes(fleet: FakeServer) -> None:
    fleet.on("POST /agent/agt_2/drain", samples.state(), status=202)
    async with opened(fleet) as pilot:
        for no in ("n", "escape"):
            question = await ask(pilot, "d")
            await pilot.press(no)
            await until(pilot, lambda one=question: top(pilot).screen is not one)
        assert orders(fleet) == []
        await ask(pilot, "d")
        await pilot.press("y")
        await until(pilot, lambda: bool(orders(fleet)))
        (order,) = orders(fleet)
        assert order.path == "/agent/agt_2/drain"
        assert order.json == {"reason": "asked for in opscore top"}


async def test_an_agent_is_activated(fleet: FakeServer) -> None:
    fleet.on("POST /agent/agt_2/activate", samples.state("idle"), status=202)
    async with opened(fleet) as pilot:
        await ask(pilot, "a")
        await pilot.press("y")
        await until(pilot, lambda: bool(orders(fleet)))


async def test_the_session_under_the_cursor_is_cancelled(fleet: FakeServer) -> None:
    fleet.on("POST /session/ses_2/cancel", b"", status=202)
    async with opened(fleet) as pilot:
        await pilot.press("c")
        assert not isinstance(top(pilot).screen, Question), "an agent is chosen, not a session"
        await ask(pilot, "2", "j", "c")
        await pilot.press("y")
        await until(pilot, lambda: bool(orders(fleet)))
        (order,) = orders(fleet)
        assert order.path == "/session/ses_2/cancel"


async def test_the_cursor_stays_on_its_session(fleet: FakeServer) -> None:
    async with opened(fleet) as pilot:
        await pilot.press("2", "j")
        newer = [samples.summary(f"ses_{n}") for n in (9, 8, 1, 2)]
        fleet.on("GET /session", SessionPage(sessions=newer))
        await top(pilot).read()
        question = await ask(pilot, "c")
        assert any("ses_2" in str(part.render()) for part in question.query(Static))


async def test_a_change_that_is_refused_is_told(fleet: FakeServer) -> None:
    fleet.refuse("POST /session/ses_1/cancel", 409, "it has [red]ended[/red]")
    async with opened(fleet) as pilot:
        await ask(pilot, "2", "c")
        await pilot.press("y")
        told = top(pilot)._notifications  # pyright: ignore[reportPrivateUsage]
        await until(pilot, lambda: len(told) > 0)
        assert "it has [red]ended[/red]" in next(iter(told)).message


async def test_enter_shows_what_the_show_command_shows(fleet: FakeServer) -> None:
    fleet.on("GET /session/ses_1", samples.session("processing"))
    fleet.on("GET /task", TaskPage(tasks=[samples.task()]))
    fleet.on("GET /log", LogPage(records=[]))
    async with opened(fleet) as pilot:
        await pilot.press("2", "enter")
        await until(pilot, lambda: isinstance(top(pilot).screen, Page))
        assert "workflow  greet 1" in cast("Page", top(pilot).screen).text.plain
        await pilot.press("j", "k", "escape")
        await until(pilot, lambda: not isinstance(top(pilot).screen, Page))
        await pilot.press("1", "enter")
        await until(pilot, lambda: isinstance(top(pilot).screen, Page))
        assert "last error  boom" in cast("Page", top(pilot).screen).text.plain
        await pilot.press("q")
        await until(pilot, lambda: not isinstance(top(pilot).screen, Page))
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(top(pilot).screen, Page))
        assert "drain the agent" in cast("Page", top(pilot).screen).text.plain


async def test_the_log_follows_what_is_chosen_and_can_be_held(fleet: FakeServer) -> None:
    def asked(**wanted: str | None) -> bool:
        streams = [seen.query for seen in fleet.seen if seen.path == "/log/stream"]
        return bool(streams) and all(streams[-1].get(name) == one for name, one in wanted.items())

    async with opened(fleet) as pilot:
        log = top(pilot).query_one(RichLog)
        await until(pilot, lambda: asked(level="info", agent=None, since="10m"))
        await pilot.press("l")
        await until(pilot, lambda: asked(level="info", agent="agt_2"))
        assert "of agt_2" in str(log.border_title)
        await pilot.press("e")
        await until(pilot, lambda: asked(level="warning", agent="agt_2"))
        await pilot.press("l")
        await until(pilot, lambda: asked(level="warning", agent=None))
        await pilot.press("p")
        assert "held" in str(log.border_subtitle)
        await pilot.press("p", "4", "j", "k")
        assert log.border_subtitle == ""


@pytest.mark.parametrize("width", [60, 200])
async def test_nothing_that_is_shown_is_obeyed(fleet: FakeServer, width: int) -> None:
    for route in ("GET /agent", "GET /session", "GET /queue"):
        page: Any = {
            "GET /agent": {"agents": [samples.as_json(samples.agent())]},
            "GET /session": {"sessions": [samples.as_json(samples.summary())]},
            "GET /queue": {
                "queues": [
                    {
                        **dict.fromkeys(("available", "blocked", "running", "scheduled"), 1),
                        "capability": "",
                        "oldestSeconds": 1,
                    }
                ]
            },
        }[route]
        fleet.on(route, {**poisoned(page, ALL), "nextCursor": None})
    async with connect(Common(url=fleet.url)) as remote:
        board = await read_board(remote)
    cells = [
        cell
        for rows in (agent_rows(board), session_rows(board), queue_rows(board))
        for row in rows
        for cell in row.cells
    ]
    harmless(*cells)
    async with opened(fleet, width=width) as pilot:
        assert "drop table" in str(table(pilot, "agents")[0])
        question = await ask(pilot, "d")
        harmless(*(str(part.render()) for part in question.query(Static)))


async def test_ctrl_c_leaves(fleet: FakeServer) -> None:
    async with opened(fleet) as pilot:
        await pilot.press("ctrl+c")
        await until(pilot, lambda: not top(pilot).is_running)


def test_without_textual_the_command_says_how_to_get_it(
    opscore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> None:
        assert name == "textual"

    monkeypatch.setattr(util, "find_spec", nothing)
    ran = opscore("top")
    assert ran.code == exits.ERROR
    assert f"{sys.executable} -m pip install 'textual>=8.0'" in ran.err
    assert "ops-core[tui]" in ran.err


def test_without_a_terminal_it_is_a_mistake(opscore: Command) -> None:
    assert opscore("top").code == exits.USAGE
    assert opscore("top", "--json").code == exits.USAGE
    assert opscore("top", "--interval", "0").code == exits.USAGE
