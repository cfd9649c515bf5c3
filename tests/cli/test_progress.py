from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console
from rich.live import Live

from opscore.cli.progress import LineView, LiveView, children, counts, showing
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
        await view.look(as_json(reading))
    assert capsys.readouterr().err.splitlines() == [
        "session: processing",
        "step a: running 1/9",
        "session: completed",
        "step a: completed 9/9",
    ]


async def test_a_wait_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    await LineView().look(as_json(samples.session("paused", waiting_for="a \x1b person")))
    assert capsys.readouterr().err == "session: paused a \\x1b person\n"


async def test_the_live_table_shows_steps_and_obeys_no_escape() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=100, force_terminal=True, no_color=True)
    step = samples.step("running", 40, 12, running=3, failed=1)
    reading = samples.session("processing", waiting_for="x\x1b[31m", steps={"me\x07asure": step})
    with Live(console=console, auto_refresh=False) as live:
        await LiveView(live).look(as_json(reading))
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
