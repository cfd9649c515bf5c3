"""`session show`, `task show`, `agent show`: failures first, one screen, commands that work."""

from __future__ import annotations

import io
import shlex
import sys
from typing import Any

import pytest

from opscore.cli import nextup
from opscore.cli.times import ago, duration, took
from opscore.wire.log import LogPage, LogView
from opscore.wire.session import StepWait
from opscore.wire.task import TaskError, TaskPage
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer
from tests.cli.test_hostile import ALL, harmless
from tests.hostile import poisoned

LOST = "no sign of life from instance i1"


def record(number: int, operation: str = "task.retried", **changes: Any) -> LogView:
    told: dict[str, Any] = {
        "level": "warning",
        "message": LOST,
        "agent_id": "agt_1",
        "agent": "alpha",
        "task_id": f"tsk_{number}",
        "error_type": "agent_lost",
    }
    return LogView(
        log_id=number,
        at=samples.AT,
        operation=operation,
        namespace="default",
        **{**told, **changes},
    )


def a_failed_session(server: FakeServer) -> None:
    fatal = TaskError(error_class="fatal", message="no such name")
    steps = {
        "greet": samples.step("failed", 4, 3, failed=1, error=fatal),
        "nested": samples.step("failed", error=fatal, children=["ses_1_1"]),
        "later": samples.step("pending"),
    }
    server.on("GET /session/ses_1", samples.session("error", steps=steps, error=fatal))
    server.on("GET /task", TaskPage(tasks=[samples.task()]))
    told = [record(3, "task.failed", level="error"), record(2), record(1)]
    server.on("GET /log", LogPage(records=told))


def test_a_session_shows_failures_first_and_alike_ones_once(
    server: FakeServer, opscore: Command
) -> None:
    a_failed_session(server)
    ran = opscore("session", "show", "ses_1")
    found = [ran.out.index(words) for words in ("no such name", "2 × agent_lost", "STEP", "input:")]
    assert found == sorted(found)
    assert "greet[3]  fatal: no such name\n    tsk_1-1, attempt 2 by alpha" in ran.out
    assert "nested  fatal" in ran.out
    assert ran.out.count(LOST) == 1
    assert "alpha, " in ran.out and "tsk_1 and 1 more" in ran.out


def commands(out: str) -> list[list[str]]:
    """The commands at the end of a screen, as a shell reads them."""
    _, _, after = out.partition("\nnext\n")
    return [shlex.split(line[line.index("opscore ") :]) for line in after.splitlines()]


def test_a_failed_session_says_what_to_type(server: FakeServer, opscore: Command) -> None:
    a_failed_session(server)
    words = [" ".join(one) for one in commands(opscore("session", "show", "ses_1").out)]
    assert words == [
        "opscore task show tsk_1-1",
        "opscore session show ses_1_1",
        "opscore session retry ses_1",
        "opscore log --session ses_1 --level warning",
        "opscore trace ses_1",
    ]


@pytest.mark.parametrize(
    ("status", "wait", "expected"),
    [
        ("paused", None, "session resume ses_1"),
        ("processing", StepWait(kind="approval", name="apr_1"), "approval show apr_1"),
        ("processing", StepWait(kind="signal", name="go"), "session signal ses_1 go"),
        ("processing", None, "session why ses_1"),
    ],
)
def test_what_waits_says_what_to_type(
    server: FakeServer, opscore: Command, status: str, wait: StepWait | None, expected: str
) -> None:
    steps = {"a": samples.step("waiting", waiting_for=wait)}
    server.on("GET /session/ses_1", samples.session(status, steps=steps))
    server.on("GET /session/ses_1/why", samples.why())
    ran = opscore("session", "show", "ses_1")
    assert f"opscore {expected}" in [" ".join(one) for one in commands(ran.out)]
    assert "a: 1 busy, since " in ran.out


def test_a_screen_says_when_log_records_cannot_be_read(
    server: FakeServer, opscore: Command
) -> None:
    server.on("GET /session/ses_1", samples.session())
    server.refuse("GET /log", 503, "the log store is damaged")
    ran = opscore("session", "show", "ses_1")
    assert (ran.code, ran.err) == (0, "")
    assert "log records cannot be read: the log store is damaged" in ran.out


def test_long_lists_and_documents_are_bounded(server: FakeServer, opscore: Command) -> None:
    steps = {f"s{n}": samples.step("completed") for n in range(40)}
    steps["bad"] = samples.step("failed", error=TaskError(message="here"))
    output = samples.msgspec.Raw(samples.msgspec.json.encode({str(n): n for n in range(99)}))
    server.on("GET /session/ses_1", samples.session(steps=steps, output=output))
    kinds = [record(n, message=f"kind {n}") for n in range(9)]
    server.on("GET /log", LogPage(records=kinds))
    out = opscore("session", "show", "ses_1").out
    assert "… and 3 other kinds" in out
    assert "… 91 more lines; -o json has all" in out
    assert "… 40 more steps; -o json has all" in out and "\nbad " in out
    assert len(out.splitlines()) < 70


def test_a_dead_letter_can_be_tried_again(server: FakeServer, opscore: Command) -> None:
    server.on("GET /task/tsk_1-1", samples.task())
    server.on("GET /task", TaskPage(tasks=[samples.task()]))
    server.on("GET /log", LogPage(records=[record(1, "log", message="reading"), record(2)]))
    ran = opscore("task", "show", "tsk_1-1")
    assert commands(ran.out)[0] == ["opscore", "task", "retry", "tsk_1-1"]
    assert ["opscore", "agent", "show", "agt_2"] in commands(ran.out)
    assert "reading" in ran.out and LOST not in ran.out, "an attempt says it already"
    server.on("GET /task", TaskPage(tasks=[]))
    assert "task retry" not in opscore("task", "show", "tsk_1-1").out


def test_a_running_task_says_what_it_waits_for(server: FakeServer, opscore: Command) -> None:
    running = samples.task(status="running", error=None, finished_at=None)
    server.on("GET /task/tsk_1-1", running)
    server.on("GET /task/tsk_1-1/why", samples.why())
    server.on("GET /log", LogPage(records=[]))
    ran = opscore("task", "show", "tsk_1-1")
    assert "b: it runs" in ran.out
    assert ["opscore", "log", "--follow", "--task", "tsk_1-1"] in commands(ran.out)


def test_an_agent_shows_what_failed_and_what_it_does(server: FakeServer, opscore: Command) -> None:
    server.on("GET /agent/agt_1", samples.agent(last_error="boom", state="draining"))
    server.on(
        "GET /task",
        TaskPage(tasks=[samples.task()]),
        TaskPage(tasks=[samples.task(status="running", task_id="tsk_9")]),
    )
    server.on("GET /log", LogPage(records=[record(1)]))
    ran = opscore("agent", "show", "agt_1")
    found = [ran.out.index(words) for words in ("boom", "no such name", LOST, "tsk_9", "LAST SEEN")]
    assert found == sorted(found)
    assert ["opscore", "agent", "activate", "agt_1"] in commands(ran.out)
    asked = [seen.query.get("status") for seen in server.seen if seen.path == "/task"]
    assert asked == ["failed", "running"]


@pytest.mark.parametrize("noun", ["session", "task", "agent"])
def test_json_is_the_thing_alone(server: FakeServer, opscore: Command, noun: str) -> None:
    sample = {"session": samples.session, "task": samples.task, "agent": samples.agent}[noun]()
    server.on(f"GET /{noun}/x", sample)
    assert opscore(noun, "show", "x", "-o", "json").json == samples.as_json(sample)
    assert [seen.path for seen in server.seen] == [f"/{noun}/x"]


def test_commands_name_the_server_that_was_named(server: FakeServer, opscore: Command) -> None:
    a_failed_session(server)
    ran = opscore("session", "show", "ses_1", "--url", server.url, "--namespace=default")
    for words in commands(ran.out):
        assert words.index("--url") + 1 == words.index(server.url)
        assert "--namespace=default" in words
    assert opscore(*commands(ran.out)[1][1:]).code == 3, "the command is read: no such session"


def test_words_are_quoted_and_are_no_options() -> None:
    assert nextup.command("task show", "a b; reboot") == "opscore task show 'a b; reboot'"
    assert nextup.command("agent show", "-x") == "opscore agent show -- -x"
    assert (
        nextup.command("log", agent="-x", level="error") == "opscore log --agent=-x --level error"
    )
    assert nextup.carried(["log", "--url=u", "--profile", "p", "--", "--url", "v"]) == (
        *("--url=u", "--profile", "p"),
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [44, 60, 200])
def test_narrow_terminals_cut_nothing_that_counts(
    server: FakeServer, opscore: Command, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    a_failed_session(server)
    long = TaskError(error_class="fatal", message=" ".join(f"word{n}" for n in range(40)))
    server.on("GET /task", TaskPage(tasks=[samples.task(error=long)]))
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    opscore("session", "show", "ses_1")
    shown, _, after = screen.getvalue().partition("\nnext\n")
    assert max(map(len, shown.splitlines())) <= columns
    for number in range(40):
        assert f"word{number}" in shown
    assert "opscore log --session ses_1 --level warning" in after, "a command is never cut"


POISONED: list[tuple[list[str], dict[str, Any]]] = [
    (
        ["session", "show", "s"],
        {
            "GET /session/s": samples.session(
                "error", steps={"a": samples.step("failed", failed=1)}
            ),
            "GET /session/s/why": samples.why(),
        },
    ),
    (["task", "show", "t"], {"GET /task/t": samples.task(), "GET /task/t/why": samples.why()}),
    (["agent", "show", "a"], {"GET /agent/a": samples.agent(details={"a": "b"})}),
]


@pytest.mark.parametrize(("words", "routes"), POISONED, ids=lambda one: str(one)[:24])
def test_no_part_of_a_screen_is_obeyed(
    server: FakeServer, opscore: Command, words: list[str], routes: dict[str, Any]
) -> None:
    others = {
        "GET /task": TaskPage(tasks=[samples.task()]),
        "GET /log": LogPage(records=[record(1)]),
    }
    for route, answer in {**routes, **others}.items():
        server.on(route, {**poisoned(samples.as_json(answer), ALL), "nextCursor": None})
    ran = opscore(*words)
    assert ran.code == 0
    harmless(ran.out, ran.err)
    assert "agent_lost" not in ran.out and "drop table" in ran.out


def test_times_for_people() -> None:
    assert took("2026-01-01T00:00:00Z", "2026-01-01T00:01:05Z") == "1 min 05 s"
    assert took("no time", None) is None and ago("no time") is None and took(None, None) is None
    assert ago("2020-01-01T00:00:00Z") is not None
    assert duration(0.0004) == "<1 ms"
    assert duration(3661) == "1 h 01 min"
