"""Whatever agents and strangers wrote: no screen of the command line obeys it."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
import structlog
from rich.console import Console

from opscore.cli.progress import LineView, LiveView, Look
from opscore.telemetry import logs
from opscore.telemetry.plain import UNSAFE
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer
from tests.hostile import HOSTILE, poisoned

ALL = "".join(HOSTILE.values())
PAGE: dict[str, Any] = {"nextCursor": None}
RECORD = {"writer": "w", "seq": 1, "at": "", "actor": "a", "action": "a", "details": {"a": "b"}}
KEY = {"keyId": "", "name": "", "scopes": [""], "state": "", "agent": "", "createdBy": ""}
LIMIT = {"kind": "", "key": "", "limit": 1, "inUse": 1, "waiting": 1, "holders": [["a", 1]]}
SCHEDULE = {
    "workflow": "",
    "version": "",
    "cron": "",
    "timezone": "",
    "nextTimes": [""],
    "paused": False,
}
WORKFLOW = {"name": "", "version": "", "description": "", "digest": "", "createdAt": ""}

USAGE = {
    "since": "",
    "by": "",
    "groups": [
        {
            "name": "",
            "total": samples.as_json(samples.usage(1)),
            "wasted": samples.as_json(samples.usage(1)),
        }
    ],
}

EVENTS = {"events": [samples.as_json(samples.history(1, 1))["events"][0]]}

SCREENS: list[tuple[list[str], str, Any]] = [
    (["agent", "ls"], "GET /agent", {"agents": [samples.as_json(samples.agent())]}),
    (["agent", "show", "a"], "GET /agent/a", samples.as_json(samples.agent())),
    (["session", "ls"], "GET /session", {"sessions": [samples.as_json(samples.summary())]}),
    (["session", "show", "s"], "GET /session/s", samples.as_json(samples.session())),
    (["session", "why", "s"], "GET /session/s/why", samples.as_json(samples.why())),
    (["session", "history", "s"], "GET /session/s/history", EVENTS),
    (["trace", "s"], "GET /session/s/trace", samples.as_json(samples.trace())),
    (["usage"], "GET /usage", USAGE),
    (["task", "ls"], "GET /task", {"tasks": [samples.as_json(samples.task())]}),
    (["task", "show", "t"], "GET /task/t", samples.as_json(samples.task())),
    (["task", "why", "t"], "GET /task/t/why", samples.as_json(samples.why())),
    (["approval", "ls"], "GET /approval", {"approvals": [samples.as_json(samples.approval())]}),
    (["approval", "show", "a"], "GET /approval/a", samples.as_json(samples.approval())),
    (["schedule", "ls"], "GET /schedule", {"schedules": [SCHEDULE]}),
    (["limit", "ls"], "GET /limit", {"limits": [LIMIT]}),
    (["key", "ls"], "GET /key", {"keys": [KEY]}),
    (["audit", "ls"], "GET /audit", {"records": [RECORD]}),
    (["workflow", "ls"], "GET /workflow", {"workflows": [WORKFLOW]}),
]


def harmless(*texts: str) -> None:
    for text in texts:
        assert UNSAFE.findall(text.replace("\n", "")) == []


@pytest.mark.parametrize("form", ["table", "json", "jsonl"])
@pytest.mark.parametrize(("words", "route", "document"), SCREENS, ids=lambda one: str(one)[:30])
def test_no_screen_obeys_what_it_shows(
    server: FakeServer, opscore: Command, words: list[str], route: str, document: Any, form: str
) -> None:
    server.on(route, {**poisoned(document, ALL), **PAGE})
    ran = opscore(*words, "-o", form)
    harmless(ran.out, ran.err)
    assert "drop table sessions" in ran.out


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_refusal_is_obeyed(server: FakeServer, opscore: Command, text: str) -> None:
    server.refuse("GET /session/s", 404, f"no {text}")
    ran = opscore("session", "show", "s")
    harmless(ran.out, ran.err)
    assert ran.code != 0 and ran.err


async def test_no_live_view_obeys_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.live import Live

    session = poisoned(samples.as_json(samples.session()), ALL)
    session["steps"] = {ALL: next(iter(session["steps"].values()))} if session["steps"] else {}
    await LineView().look(Look(session))
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=False, width=2000)
    with Live(console=console, auto_refresh=False) as live:
        await LiveView(live).look(
            Look(session, {}, (poisoned(samples.as_json(samples.task()), ALL),))
        )
        live.refresh()
    harmless(drawn.getvalue(), capsys.readouterr().err)
    assert "drop table" in drawn.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_log_obeys_what_it_tells(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kept = logging.getLogger().handlers[:]
    try:
        logs.configure("info", form)
        for text in HOSTILE.values():
            structlog.get_logger("opscore").info("told", agent_id=text)
            logging.getLogger("library").warning("told %s", text)
        told = capsys.readouterr().err
        assert len(told.splitlines()) == 2 * len(HOSTILE)
        logging.getLogger("library").error("broke", exc_info=ValueError(ALL))
        harmless(told, capsys.readouterr().err)
    finally:
        logging.getLogger().handlers[:] = kept
        structlog.reset_defaults()
