"""`opscore run` and `opscore session watch`: following, outcomes, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opscore.cli import exits, follow, watching
from opscore.wire.base import PointedError
from opscore.wire.session import WorkflowCreated
from opscore.wire.task import TaskError
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer

STREAM = b"id: 1\nevent: task.completed\ndata: {}\n\n"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(follow, "IDLE_SECONDS", 0.001)
    monkeypatch.setattr(watching, "LAST_WORDS_SECONDS", 0.0)


def test_a_run_prints_the_output_alone_on_stdout(server: FakeServer, opscore: Command) -> None:
    running = samples.session("processing", steps={"greet": samples.step("running", 4, 1)})
    done = samples.session(steps={"greet": samples.step("completed", 4, 4)})
    server.on("POST /session", samples.accepted(), status=202)
    server.on("GET /session/ses_1", running, done)
    server.on("GET /session/ses_1/stream", STREAM)
    ran = opscore("run", "greet", "name=Ada")
    assert ran.code == exits.OK
    assert ran.json == {"text": "hello"}
    assert ran.err.splitlines() == [
        "greet started as ses_1",
        "session: processing",
        "step greet: running 1/4",
        "session: completed",
        "step greet: completed 4/4",
    ]


def test_a_run_of_a_file_applies_it_and_starts_that_version(
    server: FakeServer, opscore: Command, tmp_path: Path
) -> None:
    (tmp_path / "greet.yaml").write_text("name: greet\n", encoding="utf-8")
    made = WorkflowCreated(name="greet", version="7", digest="d", created=False)
    server.on("POST /workflow", made)
    server.on("POST /session", samples.accepted(), status=202)
    server.on("GET /session/ses_1", samples.session())
    ran = opscore("run", "greet.yaml", "--input", '{"name": "Ada"}', "--json")
    assert ran.code == exits.OK
    assert ran.json["status"] == "completed"
    started = next(seen for seen in server.seen if seen.path == "/session")
    assert started.json == {"workflow": "greet", "version": "7", "input": {"name": "Ada"}}


def test_a_refused_file_starts_nothing(
    server: FakeServer, opscore: Command, tmp_path: Path
) -> None:
    (tmp_path / "greet.yaml").write_text("name: greet\n", encoding="utf-8")
    fault = PointedError(pointer="/name", message="no", line=1, column=7)
    server.refuse("POST /workflow", 400, "invalid", fault)
    ran = opscore("run", "greet.yaml")
    assert ran.code == exits.ERROR
    assert "greet.yaml:1:7: no" in ran.err
    assert [seen.path for seen in server.seen] == ["/workflow"]
    assert opscore("run", "misspelt.yaml").code == exits.USAGE


def test_a_failed_session_is_exit_code_4(server: FakeServer, opscore: Command) -> None:
    error = TaskError(error_class="fatal", message="no \x1b[2Jname")
    steps = {"greet": samples.step("failed", error=error)}
    server.on("GET /session/ses_1", samples.session("error", error=error, steps=steps))
    ran = opscore("session", "watch", "ses_1")
    assert ran.code == exits.SESSION_FAILED
    assert ran.out == ""
    assert "error: ses_1 failed: fatal: no \\x1b[2Jname" in ran.err
    assert "step greet: fatal" in ran.err
    assert "opscore session retry ses_1" in ran.err
    assert "\x1b" not in ran.err


def test_a_cancelled_session_is_exit_code_4(server: FakeServer, opscore: Command) -> None:
    server.on("GET /session/ses_1", samples.session("cancelled"))
    ran = opscore("session", "watch", "ses_1", "--json")
    assert ran.code == exits.SESSION_FAILED
    assert ran.json["status"] == "cancelled"
    assert "was cancelled" in ran.err


def test_a_session_that_takes_too_long_is_exit_code_5(server: FakeServer, opscore: Command) -> None:
    server.on("GET /session/ses_1", samples.session("processing"))
    ran = opscore("session", "watch", "ses_1", "--timeout", "0.05")
    assert ran.code == exits.TIMEOUT
    assert "it goes on" in ran.err


def test_an_unknown_session_is_exit_code_3(server: FakeServer, opscore: Command) -> None:
    assert opscore("session", "watch", "ses_9").code == exits.NOT_FOUND
    assert server.seen


def test_events_come_as_lines_each_once(server: FakeServer, opscore: Command) -> None:
    server.on("GET /session/ses_1", samples.session("processing"), samples.session())
    server.on(
        "GET /session/ses_1/history",
        samples.history(1, 2, cursor="c1"),
        samples.history(3, 3),
        samples.history(3, 5),
    )
    ran = opscore("session", "watch", "ses_1", "-o", "jsonl")
    assert ran.code == exits.OK
    assert [json.loads(line)["seq"] for line in ran.lines] == [1, 2, 3, 4, 5]
    cursors = [seen.query.get("cursor") for seen in server.seen if "history" in seen.path]
    assert cursors == [None, "c1", "c1"]


def test_without_a_stream_the_session_is_still_followed(
    server: FakeServer, opscore: Command
) -> None:
    readings = [samples.session("processing")] * 5
    server.on("GET /session/ses_1", *readings, samples.session())
    server.refuse("GET /session/ses_1/stream", 404, "no stream here")
    assert opscore("session", "watch", "ses_1").code == exits.OK


LOG = b"""event: log
id: 1
data: {"logId": 1, "at": "2026-04-01T12:00:00Z", "level": "warning", "operation": "task.retried",
data: "namespace": "default", "message": "quota", "agent": "alpha", "sessionId": "ses_1"}

event: dropped
data: {"dropped": 7000}

"""


def test_log_lines_stand_among_the_steps(server: FakeServer, opscore: Command) -> None:
    readings = [samples.session("processing")] * 20
    server.on("GET /session/ses_1", *readings, samples.session())
    server.on("GET /log/stream", LOG, Content_Type="text/event-stream")
    ran = opscore("session", "watch", "ses_1")
    assert ran.code == exits.OK
    assert "12:00:00  warning   alpha             task.retried: quota\n" in ran.err
    assert "… 7,000 log records were not shown" in ran.err
    asked = next(seen for seen in server.seen if seen.path == "/log/stream")
    assert dict(asked.query) == {"session": "ses_1", "level": "info", "since": "1m"}


def test_a_key_that_may_not_read_logs_watches_all_the_same(
    server: FakeServer, opscore: Command
) -> None:
    readings = [samples.session("processing")] * 20
    server.on("GET /session/ses_1", *readings, samples.session())
    server.refuse("GET /log/stream", 403, "not allowed")
    ran = opscore("session", "watch", "ses_1")
    assert ran.code == exits.OK
    assert ran.err.count("log lines are not shown: not allowed") == 1
