"""Each client command against a server on a real socket."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from opscore.cli import exits
from opscore.wire.base import PointedError
from opscore.wire.bulk import BulkAnswer, RefusedChange
from opscore.wire.limit import LimitPage, LimitView
from opscore.wire.session import (
    CallbackView,
    WorkflowChecked,
    WorkflowCreated,
    WorkflowPage,
    WorkflowSummary,
    WorkflowView,
)
from opscore.wire.task import TaskAccepted, TaskPage
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer

CREATED = WorkflowCreated(name="greet", version="1", digest="d", created=True)


def test_agents_are_listed_over_all_pages(server: FakeServer, opscore: Command) -> None:
    server.on(
        "GET /agent",
        samples.agents(samples.agent("one"), cursor="next"),
        samples.agents(samples.agent("two", state="offline")),
    )
    ran = opscore("agent", "ls", "--capability", "summarize", "--label", "a=b", "--query", "x")
    assert ran.code == exits.OK
    assert [line.split()[0] for line in ran.lines] == ["AGENT", "one", "two"]
    assert "1/4" in ran.lines[1]
    first, second = server.seen
    assert dict(first.query) == {
        "capability": "summarize",
        "label": "a=b",
        "q": "x",
        "limit": "100",
    }
    assert second.query["cursor"] == "next"


def test_a_limit_bounds_what_is_asked_for(server: FakeServer, opscore: Command) -> None:
    server.on("GET /agent", samples.agents(samples.agent(), samples.agent(), cursor="more"))
    ran = opscore("agent", "ls", "--limit", "1", "--json")
    assert len(ran.json) == 1
    assert [seen.query["limit"] for seen in server.seen] == ["1"]


def test_an_agent_is_found_by_its_name(server: FakeServer, opscore: Command) -> None:
    other = samples.agent("summarizer-2", "agt_2")
    server.on("GET /agent", samples.agents(other, samples.agent()))
    ran = opscore("agent", "show", "summarizer", "--json")
    assert ran.json["agentId"] == "agt_1"


def test_an_unknown_agent_is_not_found(server: FakeServer, opscore: Command) -> None:
    server.on("GET /agent", samples.agents(samples.agent("other")))
    ran = opscore("agent", "show", "summarizer")
    assert ran.code == exits.NOT_FOUND
    assert ran.out == ""
    assert ran.err.startswith("error: ")


def test_a_name_of_two_agents_is_not_guessed(server: FakeServer, opscore: Command) -> None:
    server.on("GET /agent", samples.agents(samples.agent(), samples.agent(agent_id="agt_2")))
    assert opscore("agent", "rm", "summarizer").code == exits.NOT_FOUND
    assert {seen.method for seen in server.seen} == {"GET"}


def test_an_agent_is_shown(server: FakeServer, opscore: Command) -> None:
    server.on("GET /agent/agt_1", samples.agent(details={"why": "x"}, last_error="boom"))
    text = opscore("agent", "show", "agt_1").out
    for words in ("summarizer", "boom", '"why": "x"', "i1", "1/4"):
        assert words in text


def test_agentkit_is_asked_now(server: FakeServer, opscore: Command) -> None:
    told = {"url": "http://kit", "reachable": False, "ageSeconds": 61.5, "listsAgents": False}
    server.on("POST /internal/agent/refresh", {**told, "error": "refused"})
    ran = opscore("agent", "refresh")
    assert ran.lines[1].split() == ["reachable", "no"]
    assert "62 s ago" in ran.out and "refused" in ran.out
    assert opscore("agent", "refresh", "--json").json["ageSeconds"] == 61.5


def test_an_agent_is_registered(server: FakeServer, opscore: Command) -> None:
    server.on("POST /agent", samples.agent(), status=201)
    ran = opscore(
        *("agent", "register", "summarizer", "--capability", "a", "--capability", "b"),
        *("--max-in-flight", "3", "--label", "team=x", "--metadata", '{"k": [1]}'),
        *("--channel", "http", "--contact-endpoint", "http://x/run", "--agent-version", "2"),
        "--json",
    )
    assert ran.code == exits.OK
    assert server.last.json == {
        "agentName": "summarizer",
        "capabilities": ["a", "b"],
        "maxInFlight": 3,
        "labels": {"team": "x"},
        "metadata": {"k": [1]},
        "channel": "http",
        "contactEndpoint": "http://x/run",
        "version": "2",
    }


def test_an_agent_is_drained_activated_and_removed(server: FakeServer, opscore: Command) -> None:
    server.on("GET /agent/agt_1", samples.agent())
    server.on("POST /agent/agt_1/drain", samples.state(), status=202)
    server.on("POST /agent/agt_1/activate", samples.state("idle"), status=202)
    server.on("DELETE /agent/agt_1", b"", status=204)
    ran = opscore("agent", "drain", "agt_1", "--deadline", "30", "--reason", "update")
    assert "draining" in ran.err
    assert server.last.json == {"deadlineSeconds": 30.0, "reason": "update"}
    assert opscore("agent", "activate", "agt_1", "--json").json["state"] == "idle"
    assert opscore("agent", "rm", "agt_1").code == exits.OK
    assert (server.last.method, server.last.path) == ("DELETE", "/agent/agt_1")


def test_templates_are_applied_as_they_were_written(
    server: FakeServer, opscore: Command, tmp_path: Path
) -> None:
    server.on("POST /workflow", CREATED, status=201)
    (tmp_path / "a.yaml").write_text("name: greet # ü\n", encoding="utf-8")
    (tmp_path / "b.json").write_text('{"name": "greet"}', encoding="utf-8")
    (tmp_path / "readme.md").write_text("not a template", encoding="utf-8")
    ran = opscore("workflow", "apply", ".")
    assert ran.code == exits.OK
    assert ran.lines[1].split() == ["greet", "1", "created"]
    first, second = server.seen
    assert first.body == "name: greet # ü\n".encode()
    assert first.headers["Content-Type"] == "application/yaml"
    assert second.headers["Content-Type"] == "application/json"


def test_a_bad_template_is_located_and_the_others_are_applied(
    server: FakeServer, opscore: Command, tmp_path: Path
) -> None:
    problem = {
        "type": "about:blank",
        "title": "invalid",
        "status": 400,
        "code": "invalid",
        "detail": "the template has 2 mistakes",
        "errors": [
            {"pointer": "/steps/a", "message": "unknown key", "line": 3, "column": 7, "hint": "x"},
            {"pointer": "/name", "message": "missing"},
        ],
    }
    server.on("POST /workflow", problem, status=400)
    (tmp_path / "a.yaml").write_text("a", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("b", encoding="utf-8")
    ran = opscore("workflow", "apply", "missing.yaml", "a.yaml", "b.yaml")
    assert ran.code == exits.USAGE
    assert ran.out == ""
    assert len(server.seen) == 2
    lines = ran.err.splitlines()
    assert lines[0] == "error: missing.yaml: No such file or directory"
    assert lines[1:5] == [
        "error: the template has 2 mistakes",
        "  a.yaml:3:7: unknown key",
        "    x",
        "  a.yaml /name: missing",
    ]


def test_templates_are_checked(server: FakeServer, opscore: Command, tmp_path: Path) -> None:
    fault = {"pointer": "", "message": "a cycle", "line": 2, "column": 1}
    server.on(
        "POST /workflow/validate",
        WorkflowChecked(valid=True),
        WorkflowChecked(valid=False, errors=[fault]),
    )
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    ran = opscore("workflow", "validate", "a.yaml", "b.yaml")
    assert ran.code == exits.ERROR
    assert ran.err.splitlines() == [
        "  b.yaml:2:1: a cycle",
        "a.yaml: valid",
        "b.yaml: not valid",
    ]


def test_templates_are_listed_and_shown(server: FakeServer, opscore: Command) -> None:
    row = WorkflowSummary(name="greet", version="1", description="d", created_at=samples.AT)
    server.on("GET /workflow", WorkflowPage(workflows=[row]))
    assert opscore("workflow", "ls").lines[1].split()[:2] == ["greet", "1"]
    view = WorkflowView(
        name="greet",
        version="2",
        description="d",
        digest="x",
        created_at=samples.AT,
        definition=msgspec.Raw(b'{"steps":1}'),
    )
    server.on("GET /workflow/greet", view)
    server.on("GET /workflow/greet/1", msgspec.structs.replace(view, version="1"))
    assert '"steps": 1' in opscore("workflow", "show", "greet").out
    assert opscore("workflow", "show", "greet", "1", "--json").json["version"] == "1"


def test_a_session_is_started(server: FakeServer, opscore: Command) -> None:
    server.on("POST /session", samples.accepted(), status=202)
    ran = opscore(
        *("session", "start", "greet", "name=Ada", "n=3", "--priority", "0", "--version", "1"),
        *("--label", "a=b", "--context", '{"t": 1}'),
    )
    assert ran.out == "ses_1\n"
    assert "opscore session watch ses_1" in ran.err
    assert server.last.json == {
        "workflow": "greet",
        "version": "1",
        "input": {"name": "Ada", "n": 3},
        "context": {"t": 1},
        "priority": 0,
        "labels": {"a": "b"},
    }


def test_the_secret_of_a_callback_is_shown_once(server: FakeServer, opscore: Command) -> None:
    accepted = msgspec.structs.replace(samples.accepted(), callback_secret="whsec_abc")
    server.on("POST /session", accepted, status=202)
    ran = opscore("session", "start", "greet", "--callback", "https://a.example/done")
    assert server.last.json["callback"] == {"url": "https://a.example/done"}
    assert (ran.out, "signed with whsec_abc" in ran.err) == ("ses_1\n", True)
    told = opscore("session", "start", "greet", "--callback", "https://a.example/done", "--json")
    assert told.json["callbackSecret"] == "whsec_abc"
    told_of = CallbackView(
        url="https://a.example/done", status="given_up", tries=10, next_try_at=None, error="no"
    )
    server.on("GET /session/ses_1", samples.session(callback=told_of))
    shown = opscore("session", "show", "ses_1").out
    assert "given_up after 10 tries: https://a.example/done (no)" in shown


def test_sessions_are_listed(server: FakeServer, opscore: Command) -> None:
    server.on("GET /session", {"sessions": [samples.summary()], "nextCursor": None})
    ran = opscore("session", "ls", "--status", "processing", "--since", samples.AT, "--json")
    assert ran.json[0]["sessionId"] == "ses_1"
    assert server.last.query["status"] == "processing"
    assert server.last.query["since"] == samples.AT


def test_a_session_is_shown(server: FakeServer, opscore: Command) -> None:
    steps = {"greet": samples.step("failed", 4, 3, failed=1)}
    server.on("GET /session/ses_1", samples.session("error", steps=steps))
    text = opscore("session", "show", "ses_1").out
    assert "3/4, 1 failed" in text
    assert '"name": "Ada"' in text


def test_the_journal_of_a_session_is_shown(server: FakeServer, opscore: Command) -> None:
    server.on(
        "GET /session/ses_1/history", samples.history(1, 2, cursor="c"), samples.history(3, 3)
    )
    ran = opscore("session", "history", "ses_1")
    assert [line.split()[1] for line in ran.lines] == ["task.completed"] * 3
    assert [one["seq"] for one in opscore("session", "history", "ses_1", "--json").json] == [3]


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
def test_a_session_is_controlled(server: FakeServer, opscore: Command, verb: str) -> None:
    server.on(f"POST /session/ses_1/{verb}", b"", status=202)
    ran = opscore("session", verb, "ses_1", "--reason", "because")
    assert ran.code == exits.OK
    assert ran.err.startswith("ses_1 ")
    assert server.last.json == {"reason": "because"}


def test_a_session_is_edited_and_removed(server: FakeServer, opscore: Command) -> None:
    server.on("PATCH /session/ses_1", samples.session())
    server.on("DELETE /session/ses_1", b"", status=204)
    ran = opscore("session", "edit", "ses_1", "--priority", "0", "--label", "a=b")
    assert ran.code == exits.OK
    assert server.last.json == {"priority": 0, "labels": {"a": "b"}}
    assert opscore("session", "edit", "ses_1").code == exits.USAGE
    assert opscore("session", "rm", "ses_1").code == exits.OK
    assert server.last.method == "DELETE"


def test_a_task_is_enqueued(server: FakeServer, opscore: Command) -> None:
    server.on("POST /task", TaskAccepted(task_id="tsk_1", session_id="ses_1"), status=202)
    ran = opscore(
        *("task", "enqueue", "greet", "name=Ada", "--priority", "80", "--delay", "5"),
        *("--retry", '{"maxAttempts": 2}', "--timeout", "30s", "--json"),
    )
    assert ran.json == {"taskId": "tsk_1", "sessionId": "ses_1"}
    assert server.last.json == {
        "capability": "greet",
        "input": {"name": "Ada"},
        "priority": 80,
        "delaySeconds": 5.0,
        "retry": {"maxAttempts": 2},
        "timeout": "30s",
    }


def test_a_task_for_one_agent_needs_no_capability(server: FakeServer, opscore: Command) -> None:
    server.on("POST /task", TaskAccepted(task_id="tsk_1", session_id="ses_1"), status=202)
    opscore("task", "enqueue", "name=Ada", "--agent", "summarizer")
    assert server.last.json == {"agent": "summarizer", "input": {"name": "Ada"}}
    assert opscore("task", "enqueue", "name=Ada").code == exits.USAGE


def test_tasks_are_listed(server: FakeServer, opscore: Command) -> None:
    server.on("GET /task", TaskPage(tasks=[samples.task()]))
    ran = opscore("task", "ls", "--session", "ses_1", "--dead")
    assert dict(server.last.query) == {"session": "ses_1", "dead": "true", "limit": "100"}
    assert "greet[3]" in ran.lines[1]
    assert "fatal: no such name" in ran.lines[1]


def test_a_task_is_shown_with_every_attempt(server: FakeServer, opscore: Command) -> None:
    server.on("GET /task/tsk_1-1", samples.task())
    text = opscore("task", "show", "tsk_1-1").out
    assert "timeout: slow 1" in text
    assert "timeout: slow 2" in text


@pytest.mark.parametrize("verb", ["retry", "fallback", "cancel"])
def test_a_task_is_controlled(server: FakeServer, opscore: Command, verb: str) -> None:
    server.on(f"POST /task/tsk_1/{verb}", b"", status=202)
    ran = opscore("task", verb, "tsk_1")
    assert ran.code == exits.OK
    assert ran.err.startswith("tsk_1 ")


def found(
    *ids: str, refused: tuple[str, ...] = (), more: bool = False, dry_run: bool = False
) -> BulkAnswer:
    return BulkAnswer(
        dry_run=dry_run,
        matched=len(ids),
        changed=len(ids) - len(refused),
        ids=list(ids),
        refused=[RefusedChange(id=one, detail="it went on") for one in refused],
        more=more,
    )


@pytest.mark.parametrize("verb", ["retry", "fallback"])
def test_dead_letters_are_changed_by_filter(
    server: FakeServer, opscore: Command, verb: str
) -> None:
    server.on(f"POST /task/{verb}", found("tsk_1-1", "tsk_2-1", refused=("tsk_2-1",), more=True))
    ran = opscore("task", verb, "--capability", "sum", "--error-class", "timeout")
    assert server.last.json == {"capability": "sum", "errorClass": "timeout", "dryRun": False}
    assert ran.code == exits.ERROR
    for words in ("1 of 2 tasks", "tsk_2-1: it went on", "there are more"):
        assert words in ran.err
    server.on(f"POST /task/{verb}", found("tsk_1-1", dry_run=True))
    ran = opscore("task", verb, "--all", "--dry-run")
    assert (ran.code, ran.out.strip()) == (exits.OK, "tsk_1-1")
    assert "nothing was changed" in ran.err
    assert opscore("task", verb).code == exits.USAGE
    assert opscore("task", verb, "tsk_1-1", "--dry-run").code == exits.USAGE


def test_sessions_are_cancelled_by_filter(server: FakeServer, opscore: Command) -> None:
    server.on("POST /session/cancel", found("ses_1"))
    ran = opscore("session", "cancel", "--label", "k=v", "--reason", "why", "--json")
    assert ran.code == exits.OK
    assert ran.json["ids"] == ["ses_1"]
    assert server.last.json == {"label": "k=v", "reason": "why", "dryRun": False}
    assert opscore("session", "cancel").code == exits.USAGE
    assert opscore("session", "cancel", "ses_1", "--workflow", "w").code == exits.USAGE


@pytest.mark.parametrize("noun", ["session", "task"])
def test_why_shows_reasons_agents_and_attempts(
    server: FakeServer, opscore: Command, noun: str
) -> None:
    server.on(f"GET /{noun}/x_1/why", samples.why())
    ran = opscore(noun, "why", "x_1")
    assert ran.code == exits.OK
    for words in ("1 busy", "alpha", "5/5", "tsk_7-1, tsk_8-1", "agt_2", "i2", samples.AT):
        assert words in ran.out
    assert opscore(noun, "why", "x_1", "--json").json["reasons"][0]["position"] == 3
    server.on(f"GET /{noun}/x_2/why", samples.why(status="completed", reasons=[]))
    assert opscore(noun, "why", "x_2").out.strip() == "nothing: it is completed"


def test_limits_are_listed_with_their_holders(server: FakeServer, opscore: Command) -> None:
    held = [(f"tsk_{n}-1", 1) for n in range(5)]
    limits = [
        LimitView(kind="concurrency", key="gpu", limit=5, in_use=5, waiting=7, holders=held),
        LimitView(
            kind="rate",
            key="api",
            limit=60,
            in_use=0,
            waiting=1,
            per_seconds=60,
            opens_at=samples.AT,
        ),
        LimitView(kind="sessions", key="t", limit=1, in_use=1, waiting=2, sessions=["ses_9"]),
    ]
    server.on("GET /limit", LimitPage(limits=limits))
    ran = opscore("limit", "ls")
    assert ran.code == exits.OK
    assert "tsk_2-1 attempt 1 and 2 more" in ran.lines[1]
    assert "sessions" in ran.lines[3] and "ses_9" in ran.lines[3]
    assert "60 per 60s" in ran.lines[2] and samples.AT in ran.lines[2]
    assert opscore("limit", "ls", "--json").json[0]["waiting"] == 7


def test_a_task_is_edited(server: FakeServer, opscore: Command) -> None:
    server.on("PATCH /task/tsk_1", samples.task())
    assert opscore("task", "edit", "tsk_1", "--priority", "90").code == exits.OK
    assert server.last.json == {"priority": 90}


def test_ids_cannot_leave_their_place_in_the_path(server: FakeServer, opscore: Command) -> None:
    assert opscore("session", "show", "../task?x").code == exits.NOT_FOUND
    assert server.last.path == "/session/..%2Ftask%3Fx"


def test_a_refusal_is_told_in_plain_lines(server: FakeServer, opscore: Command) -> None:
    fault = PointedError(pointer="/priority", message="too \x1b[31mbig", hint="at most 100")
    server.refuse("POST /session", 400, "the body is invalid", fault)
    ran = opscore("session", "start", "greet")
    assert ran.code == exits.ERROR
    assert ran.err.splitlines() == [
        "error: the body is invalid",
        "  /priority: too \\x1b[31mbig",
        "    at most 100",
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, exits.ERROR),
        (401, exits.ERROR),
        (404, exits.NOT_FOUND),
        (409, exits.ERROR),
        (429, exits.ERROR),
        (504, exits.TIMEOUT),
    ],
)
def test_statuses_become_exit_codes(
    server: FakeServer, opscore: Command, status: int, code: int
) -> None:
    server.refuse("POST /session", status, "no", Retry_After="7")
    ran = opscore("session", "start", "greet")
    assert ran.code == code
    assert "try again in 7 s" in ran.err
    assert ("OPSCORE_API_KEY" in ran.err) == (status == 401)


def test_an_answer_that_is_not_ours(server: FakeServer, opscore: Command) -> None:
    server.on("GET /task/t", b"<html>", status=200)
    ran = opscore("task", "show", "t")
    assert ran.code == exits.ERROR
    assert "not JSON" in ran.err


def test_nobody_answers(opscore: Command) -> None:
    ran = opscore("agent", "ls", "--url", "http://127.0.0.1:1")
    assert ran.code == exits.ERROR
    assert "http://127.0.0.1:1" in ran.err
    assert "opscore dev" in ran.err
    assert opscore("agent", "ls", "--url", "nonsense").code == exits.USAGE
