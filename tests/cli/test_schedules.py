"""Schedules from the command line."""

from __future__ import annotations

from opscore.cli import exits
from opscore.wire.schedule import SchedulePage, ScheduleView
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer

AT = "2026-04-01T00:00:00Z"


def schedule(*, paused: bool = False) -> ScheduleView:
    return ScheduleView(
        workflow="nightly",
        version="1",
        cron="0 2 * * *",
        every_seconds=None,
        timezone="Europe/Berlin",
        overlap="skip",
        catch_up_seconds=0,
        paused=paused,
        next_times=[] if paused else [AT],
        last_session=None,
        last_at=None,
        queued=0,
        missed=3,
    )


def test_schedules_are_listed_and_looked_ahead(server: FakeServer, opscore: Command) -> None:
    server.on("GET /schedule", SchedulePage(schedules=[schedule()]))
    server.on("GET /schedule/nightly", schedule())
    assert "0 2 * * * (Europe/Berlin)" in opscore("schedule", "ls").out
    assert opscore("schedule", "preview", "nightly", "--count", "3").out == f"{AT}\n"
    assert server.last.query == {"next": "3"}


def test_a_schedule_is_paused_resumed_and_triggered(server: FakeServer, opscore: Command) -> None:
    server.on("POST /schedule/nightly/pause", schedule(paused=True))
    server.on("POST /schedule/nightly/resume", schedule())
    server.on("POST /schedule/nightly/trigger", {"sessionId": "ses_1"}, status=202)
    assert (
        opscore("schedule", "pause", "nightly").err == "nightly starts nothing by itself any more\n"
    )
    assert opscore("schedule", "resume", "nightly").code == exits.OK
    assert opscore("schedule", "trigger", "nightly").out == "ses_1\n"
