"""Log records from the command line."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from opscore.cli import exits
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer

RECORD: dict[str, Any] = {
    "logId": 2,
    "at": "2026-01-01T00:00:00.000000Z",
    "level": "error",
    "operation": "task.failed",
    "namespace": "default",
    "message": "too \x1b[2Jlong",
    "agent": "measurer",
    "sessionId": "ses_1",
    "taskId": "ses_1-1",
    "attempt": 2,
    "errorType": "timeout",
    "context": {"file": "main.py", "n": 3},
}
OLDER: dict[str, Any] = {
    **RECORD,
    "logId": 1,
    "operation": "log",
    "message": "before",
    "context": {},
}


@pytest.fixture
def logs(server: FakeServer) -> FakeServer:
    server.on("GET /log", {"records": [RECORD, OLDER], "nextCursor": None})
    return server


def test_records_are_shown_oldest_first_and_drive_no_terminal(
    logs: FakeServer, opscore: Command
) -> None:
    ran = opscore("log")
    assert ran.code == exits.OK and "\x1b" not in ran.out
    first, second = ran.lines
    assert "before" in first and "log:" not in first
    for word in ("measurer", "task.failed: too \\x1b[2Jlong", "session=ses_1", "file=main.py"):
        assert word in second
    assert "attempt=2" in second and "error=timeout" in second and "n=3" in second
    assert [one["logId"] for one in opscore("log", "--json").json] == [1, 2]
    assert len(opscore("log", "-o", "jsonl").lines) == 2


def test_filters_are_passed_on(logs: FakeServer, opscore: Command) -> None:
    words = ["--agent", "x", "--session", "ses_1", "--task", "t", "--trace", "0" * 32]
    words += ["--level", "warning", "--error-type", "timeout", "--since", "10m", "--until", "1m"]
    words += ["--grep", "too long", "--ctx", "file=main.py", "--ctx", "deep.n=3", "--limit", "7"]
    assert opscore("log", *words).code == exits.OK
    assert logs.last.query == {
        "agent": "x",
        "session": "ses_1",
        "task": "t",
        "trace": "0" * 32,
        "level": "warning",
        "errorType": "timeout",
        "since": "10m",
        "until": "1m",
        "q": "too long",
        "ctx.file": "main.py",
        "ctx.deep.n": "3",
        "limit": "7",
    }


def test_following_shows_what_comes_and_what_is_missing(
    server: FakeServer, opscore: Command
) -> None:
    one = b"id: 7\nevent: log\ndata: %b\n\n" % msgspec.json.encode(RECORD)
    stream = b"id: 6\n\n" + one + b'event: dropped\ndata: {"dropped": 45000}\n\n:\n\n'
    server.on("GET /log/stream", stream, content_type="text/event-stream")
    server.refuse_after("GET /log/stream", 403, "enough")
    ran = opscore("log", "-f", "--agent", "x", "--error-type", "timeout", "--since", "1m")
    assert ran.code == exits.ERROR and "enough" in ran.err
    assert ran.lines[0].count("task.failed") == 1 and len(ran.lines) == 1
    assert "… 45,000 dropped" in ran.err
    assert server.last.query == {"agent": "x", "errorType": "timeout", "since": "1m"}
    assert server.last.headers["Last-Event-ID"] == "7"  # the connection ended; it came again


def test_what_cannot_be_is_told(logs: FakeServer, opscore: Command) -> None:
    for words in (["--ctx", "file"], ["--level", "loud"], ["--limit", "0"], ["-f", "--json"]):
        assert opscore("log", *words).code == exits.USAGE
    assert opscore("log", "gc", "--older-than", "soon").code == exits.USAGE
    assert not logs.seen


def test_nothing_found_is_said(server: FakeServer, opscore: Command) -> None:
    server.on("GET /log", {"records": [], "nextCursor": None})
    ran = opscore("log")
    assert (ran.out, ran.err) == ("", "(none)\n")


def test_a_clean_up_says_what_it_did(server: FakeServer, opscore: Command) -> None:
    done = {"outdated": 5, "oversized": 1, "dryRun": True}
    server.on("POST /log/gc", done, {**done, "dryRun": False})
    ran = opscore("log", "gc", "--dry-run", "--older-than", "7d", "--max-size", "10")
    assert ran.out == "5 too old, 1 beyond the size: would be deleted\n"
    body = {"olderThanSeconds": 604_800, "maxBytes": 10_485_760, "dryRun": True}
    assert server.last.json == body
    assert opscore("log", "gc").out.endswith(": deleted\n")
    assert server.last.json == {}
    assert opscore("log", "gc", "--json").json == {**done, "dryRun": False}


def test_the_help_names_the_commands_below(opscore: Command) -> None:
    ran = opscore("log", "--help")
    assert "gc" in ran.out and "--error-type" in ran.out


def test_doctor_names_a_broken_log_store(server: FakeServer, opscore: Command) -> None:
    server.on("GET /openapi.json", {"info": {"version": "9"}})
    server.on("GET /agent", {"agents": [], "nextCursor": None})
    for problem, dropped, level, told in (
        (None, 0, "ok", "every record"),
        (None, 7, "warn", "7 records"),
        ("the disk is full", 7, "warn", "the disk is full"),
    ):
        logs = {"problem": problem, "dropped": dropped}
        server.on("GET /ready", {"ready": True, "reasons": [], "logs": logs})
        (found,) = [one for one in opscore("doctor", "--json").json if one["check"] == "logs"]
        assert (found["level"], told in found["found"]) == (level, True)
