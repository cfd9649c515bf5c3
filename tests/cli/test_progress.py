from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from opscore.cli.progress import LineView, LiveView, Look, children, counts, showing
from tests.cli import samples
from tests.cli.samples import as_json


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_lines_tell_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = LineView()
    first = samples.session("processing", steps={"a": samples.step("pending")})
    second = samples.session("processing", steps={"a": samples.step("running", 9, 1)})
    third = samples.session("processing", steps={"a": samples.step("running", 9, 2)})
    done = samples.session(steps={"a": samples.step("completed", 9, 9)})
    for reading in (first, first, second, second, third, done):
        await view.look(Look(as_json(reading)))
    assert capsys.readouterr().err.splitlines() == [
        "session: processing",
        "step a: running 1/9",
        "session: completed",
        "step a: completed 9/9",
    ]


async def test_a_wait_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    await LineView().look(Look(as_json(samples.session("paused", waiting_for="a \x1b person"))))
    assert capsys.readouterr().err == "session: paused a \\x1b person\n"


async def test_the_live_table_shows_steps_and_obeys_no_escape() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=100, force_terminal=True, no_color=True)
    step = samples.step("running", 40, 12, running=3, failed=1)
    reading = samples.session("processing", waiting_for="x\x1b[31m", steps={"me\x07asure": step})
    with Live(console=console, auto_refresh=False) as live:
        await LiveView(live).look(Look(as_json(reading)))
        live.refresh()
    shown = screen.getvalue()
    for words in ("ses_1", "me\\x07asure", "12/40, 3 running, 1 failed", "x\\x1b[31m"):
        assert words in shown
    assert "\x07" not in shown
    assert "\x1b[31m" not in shown


def test_the_view_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with showing() as view:
        assert isinstance(view, LineView)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with showing() as view:
        assert isinstance(view, LiveView)


def test_counts() -> None:
    assert counts({"total": 0}) == ""
    assert counts({"total": 4, "completed": 4, "failed": 0, "running": 0}) == "4/4"
    again = {"total": 1, "completed": 0, "running": 1, "iteration": 2, "iterations": 5}
    assert counts(again) == "iteration 2 of 5, 1 running"


def test_child_sessions_are_named() -> None:
    assert children({"children": []}) == ""
    assert children({"children": ["ses_1_1"]}) == "ses_1_1"
    assert children({"children": ["ses_1_1", "ses_1_2"]}) == "ses_1_2 and 1 before"


RECORD = {"at": samples.AT, "level": "error", "operation": "task.failed", "message": "no\x07 name"}


async def picture(width: int, steps: dict[str, Any], encoding: str = "utf-8") -> str:
    """What a terminal shows of a session with these steps, each after the one before it."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding, "backslashreplace")
    console = Console(file=screen, width=width, force_terminal=True, no_color=True)
    names = list(steps)
    needs = {name: (names[place],) for place, name in enumerate(names[1:])}
    running = [
        samples.task(step="a", task_id=f"t{n}", index=n, attempt=n, instance_id="i\x07")
        for n in range(1, 6)
    ]
    look = Look(as_json(samples.session(steps=steps)), needs, tuple(map(as_json, running)))
    with Live(console=console, auto_refresh=False) as live:
        view = LiveView(live)
        await view.look(look)
        view.said(RECORD)
        view.note("… 7 dropped")
        live.refresh()
    screen.flush()
    screen.seek(0)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.read())


async def test_the_graph_shows_what_needs_what_and_the_attempts_that_count() -> None:
    steps = {"a": samples.step("running", 9, 3), "b": samples.step("pending")}
    shown = await picture(100, steps)
    lines = [line.strip() for line in shown.splitlines()]
    assert any(line.startswith("● a") and "running" in line for line in lines)
    assert any(line.startswith("└─○ b") and "pending" in line for line in lines)
    assert [n for n in range(1, 6) if f"[{n}] #{n} on i\\x07" in shown] == [3, 4, 5]
    assert "12:00:00  error     server            task.failed: no\\x07 name" in shown
    assert "… 7 dropped" in shown
    assert "\x07" not in shown


@pytest.mark.parametrize("width", [40, 75, 120])
async def test_the_graph_fits(width: int) -> None:
    steps = {name: samples.step("completed", 4, 4) for name in ("a", "b" * 60, "c")}
    shown = await picture(width, steps)
    drawn = [line for line in shown.splitlines() if "completed" in line]
    assert len(drawn) >= 3
    assert all(len(line) <= width for line in drawn)
    assert ("━" in shown) == (width > 76)


async def test_a_terminal_without_unicode_gets_a_plain_graph() -> None:
    steps = {"a": samples.step("failed"), "b": samples.step("skipped")}
    shown = await picture(100, steps, "ascii")
    assert "x a" in shown and "`-- b" in shown


async def test_of_many_steps_those_that_count_are_shown() -> None:
    steps = {f"s{n}": samples.step("completed") for n in range(50)}
    shown = await picture(100, {**steps, "bad": samples.step("failed")})
    assert "✗ bad" in shown and "50 more steps" in shown


def test_log_lines_are_told_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    LineView().said(RECORD)
    told = capsys.readouterr().err
    assert told == "12:00:00  error     server            task.failed: no\\x07 name\n"
