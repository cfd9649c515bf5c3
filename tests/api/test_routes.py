"""Every route with every status of the contract, by table."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from tests.api.conftest import COMPUTED, ONE_STEP, Reply, Site

YAML = b"""
name: from-yaml
version: "1"
steps:
  only: {capability: echo, with: {x: "${{ input.x }}"}}
"""
AGENT = {"agentName": "table", "capabilities": ["table"]}
ASKING = {
    "name": "asking",
    "version": "1",
    "steps": {
        "ask": {
            "approval": {"title": "Go?", "details": {"n": 1}, "approvers": ["ada", "bob"]},
        },
        "go": {"signal": {"name": "go", "schema": {"type": "integer"}}},
    },
    "output": "${{ [steps.ask.output.details, steps.ask.output.by, steps.go.output] }}",
}
NIGHTLY = {
    "name": "nightly",
    "version": "1",
    "schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
    "steps": {"a": {"value": 1}},
}
STATE = {"agentId": "reported", "state": "active", "timestamp": "2026-04-01T12:00:00+00:00"}

# A dollar name is replaced by what `subjects` made.
TABLE: list[tuple[str, str, Any, int]] = [
    ("POST", "/agent", {**AGENT, "agentName": "new-one"}, 201),
    ("POST", "/agent", AGENT, 200),
    ("POST", "/agent", {}, 400),
    ("POST", "/agent", {**AGENT, "agentId": "with/slash"}, 400),
    ("POST", "/agent", {**AGENT, "channel": "pigeon"}, 400),
    ("GET", "/agent?capability=table&state=unknown&q=tab&limit=5", None, 200),
    ("GET", "/agent/$agent", None, 200),
    ("GET", "/agent/none", None, 404),
    ("PATCH", "/agent/$agent", {"version": "2"}, 200),
    ("PATCH", "/agent/$agent", {"agentName": "x"}, 400),
    ("PATCH", "/agent/none", {"version": "2"}, 404),
    ("DELETE", "/agent/none", None, 404),
    ("POST", "/agent/reported/state", STATE, 202),
    ("POST", "/agent/reported/state", {**STATE, "state": "finished", "details": None}, 202),
    ("POST", "/agent/reported/state", {**STATE, "state": "dreaming", "extra": 1}, 202),
    ("POST", "/agent/another/state", STATE, 400),
    ("POST", "/agent/reported/state", {**STATE, "state": ""}, 400),
    ("GET", "/agent/$agent/state", None, 200),
    ("GET", "/agent/none/state", None, 404),
    ("GET", "/agent/$agent/state/history?limit=10", None, 200),
    ("GET", "/agent/none/state/history", None, 404),
    ("POST", "/agent/$agent/heartbeat", {"instanceId": "i-9"}, 202),
    ("POST", "/agent/none/heartbeat", {"instanceId": "i-9"}, 404),
    ("POST", "/agent/none/drain", None, 404),
    ("POST", "/agent/none/activate", None, 404),
    ("POST", "/task/retry", {"capability": "nobody-has-it"}, 200),
    ("POST", "/task/retry", {"dryRun": True, "errorClass": "timeout", "attempts": 2}, 200),
    ("POST", "/task/retry", {"attempts": 0}, 400),
    ("POST", "/task/retry", {"status": "running"}, 400),
    ("POST", "/task/fallback", {"status": "available", "workflow": "none"}, 200),
    ("POST", "/task/fallback", {"status": "dead"}, 400),
    ("POST", "/session/cancel", {"workflow": "none", "dryRun": True}, 200),
    ("POST", "/session/cancel", {}, 400),
    ("POST", "/session/cancel", {"status": "completed"}, 400),
    ("GET", "/task?dead=true&workflow=none&errorClass=timeout", None, 200),
    ("POST", "/agent/$agent/workflow", {"workflowDefinitionId": "computed"}, 202),
    ("POST", "/agent/$agent/workflow", {"workflowDefinitionId": "none"}, 404),
    ("POST", "/agent/none/workflow", {"workflowDefinitionId": "computed"}, 404),
    ("POST", "/agent/$agent/workflow", {}, 400),
    ("POST", "/agent/$agent/claim", {"instanceId": "i-9", "waitSeconds": 0}, 200),
    ("POST", "/agent/$agent/claim", {"instanceId": "i-9", "max": 0}, 400),
    ("POST", "/agent/$agent/claim", {"instanceId": "i-9", "waitSeconds": 61}, 400),
    ("POST", "/agent/none/claim", {"instanceId": "i-9"}, 404),
    ("POST", "/workflow", {**ONE_STEP, "version": "2"}, 201),
    ("POST", "/workflow", ONE_STEP, 200),
    ("POST", "/workflow", {**COMPUTED, "name": "one-step"}, 409),
    ("POST", "/workflow", {**ONE_STEP, "surprise": 1}, 400),
    ("POST", "/workflow", b"{", 400),
    ("POST", "/workflow/validate", ONE_STEP, 200),
    ("POST", "/workflow/plan", {"template": ONE_STEP}, 200),
    ("POST", "/workflow/plan", {"template": {**ONE_STEP, "surprise": 1}}, 400),
    ("POST", "/workflow/plan", {}, 400),
    ("GET", "/workflow?limit=1", None, 200),
    ("GET", "/workflow/one-step", None, 200),
    ("GET", "/workflow/none", None, 404),
    ("GET", "/workflow/one-step/1", None, 200),
    ("GET", "/workflow/one-step/9", None, 404),
    ("POST", "/session", {"workflow": "computed"}, 202),
    ("POST", "/session", {"workflow": "none"}, 404),
    ("POST", "/session", {"workflow": "computed", "version": "9"}, 404),
    ("POST", "/session/batch", {"sessions": [{"workflow": "computed"}] * 3}, 202),
    ("POST", "/session/batch", {"sessions": []}, 400),
    ("POST", "/session/batch", {"sessions": [{"workflow": "computed"}] * 501}, 400),
    ("GET", "/session?workflow=computed&status=completed&limit=2", None, 200),
    ("GET", "/session?since=2020-01-01T00:00:00Z&until=2030-01-01T00:00:00%2B01:00", None, 200),
    ("GET", "/session/$ended", None, 200),
    ("GET", "/session/none", None, 404),
    ("PATCH", "/session/$waiting", {"priority": 80, "labels": {"a": "b"}}, 200),
    ("PATCH", "/session/$waiting", {"metadata": {"a": 1}}, 200),
    ("PATCH", "/session/none", {"priority": 80}, 404),
    ("GET", "/session/$ended/history?limit=1", None, 200),
    ("GET", "/session/$waiting/why", None, 200),
    ("GET", "/session/$ended/why", None, 200),
    ("GET", "/session/none/why", None, 404),
    ("GET", "/session/$waiting/trace", None, 200),
    ("GET", "/session/$ended/trace", None, 200),
    ("GET", "/session/none/trace", None, 404),
    ("GET", "/trace/slowest?since=2h&limit=3", None, 200),
    ("GET", "/trace/slowest?since=2026-01-01T00:00:00Z", None, 200),
    ("GET", "/trace/slowest?since=yesterday", None, 400),
    ("GET", "/usage", None, 200),
    ("GET", "/usage?by=day&since=7d", None, 200),
    ("GET", "/usage?by=mood", None, 400),
    ("GET", "/usage?since=yesterday", None, 400),
    ("GET", "/task/none/why", None, 404),
    ("GET", "/limit", None, 200),
    ("GET", "/limit?limit=0", None, 400),
    ("GET", "/session/none/history", None, 404),
    ("POST", "/session/$waiting/pause", None, 202),
    ("POST", "/session/$waiting/resume", {"reason": "go on"}, 202),
    ("POST", "/session/$ended/pause", None, 409),
    ("POST", "/session/$ended/resume", None, 409),
    ("POST", "/session/$ended/cancel", None, 409),
    ("POST", "/session/$ended/retry", None, 409),
    ("POST", "/session/none/cancel", None, 404),
    ("POST", "/session/none/pause", None, 404),
    ("POST", "/session/none/resume", None, 404),
    ("POST", "/session/none/retry", None, 404),
    ("POST", "/session/$asking/signal/go", {"payload": 1, "signalId": "one"}, 202),
    ("POST", "/session/$asking/signal/go", {"payload": "x"}, 400),
    ("POST", "/session/$asking/signal/stop", None, 422),
    ("POST", "/session/$ended/signal/go", None, 409),
    ("POST", "/session/none/signal/go", None, 404),
    ("GET", "/schedule?next=3", None, 200),
    ("GET", "/schedule/nightly?next=2", None, 200),
    ("GET", "/schedule/nightly?next=101", None, 400),
    ("GET", "/schedule/none", None, 404),
    ("POST", "/schedule/nightly/trigger", None, 202),
    ("POST", "/schedule/nightly/pause", None, 200),
    ("POST", "/schedule/nightly/pause", None, 409),
    ("POST", "/schedule/nightly/resume", None, 200),
    ("POST", "/schedule/none/trigger", None, 404),
    ("GET", "/approval?status=pending&limit=5", None, 200),
    ("GET", "/approval?status=asked", None, 400),
    ("GET", "/approval/$approval", None, 200),
    ("GET", "/approval/none", None, 404),
    ("POST", "/approval/$approval/approve", {"contentHash": "0" * 64, "by": "ada"}, 409),
    ("POST", "/approval/$approval/approve", {"contentHash": "abc"}, 400),
    ("POST", "/approval/$approval/approve", None, 400),
    ("POST", "/approval/none/approve", {"contentHash": "0" * 64}, 404),
    ("POST", "/approval/$approval/reject", {"by": "mallory"}, 403),
    ("POST", "/approval/none/reject", None, 404),
    ("POST", "/session/$waiting/cancel", {"because": 1}, 400),
    ("DELETE", "/session/$waiting", None, 409),
    ("DELETE", "/session/none", None, 404),
    ("POST", "/task", {"capability": "later", "delaySeconds": 60}, 202),
    ("POST", "/task", {"capability": "later", "dueAt": "2099-01-01T00:00:00Z"}, 202),
    ("POST", "/task", {"capability": "later", "dueAt": "tomorrow"}, 400),
    ("POST", "/task", {}, 400),
    ("POST", "/task", {"capability": "a", "agent": "b"}, 400),
    ("POST", "/task", {"capability": "a", "delaySeconds": 1, "dueAt": "2099-01-01T00:00:00Z"}, 422),
    ("GET", "/task?status=available&capability=echo&dead=false", None, 200),
    ("GET", "/task?dead=true", None, 200),
    ("GET", "/task?dead=perhaps", None, 400),
    ("GET", "/task/$task", None, 200),
    ("GET", "/task/tsk_none-1", None, 404),
    ("GET", "/task/none", None, 404),
    ("PATCH", "/task/$task", {"priority": 90}, 200),
    ("PATCH", "/task/$task", {"priority": 101}, 400),
    ("PATCH", "/task/tsk_none-1", {"priority": 1}, 404),
    ("POST", "/task/tsk_none-1/retry", None, 404),
    ("POST", "/task/tsk_none-1/fallback", None, 404),
    ("POST", "/task/tsk_none-1/cancel", None, 404),
    ("POST", "/task/settle", {"settlements": []}, 200),
    ("POST", "/task/settle", {"settlements": [{"taskId": "x"}]}, 400),
    ("POST", "/task/$task/heartbeat", {"attempt": 7}, 409),
    ("POST", "/task/$task/progress", {"attempt": 7, "fraction": 0.5}, 409),
    ("POST", "/task/$task/progress", {"attempt": 1, "fraction": 1.5}, 400),
    ("POST", "/task/$task/complete", {"attempt": 7}, 409),
    ("POST", "/task/$task/fail", {"attempt": 7, "error": {"class": "x"}}, 409),
    ("POST", "/task/tsk_none-1/complete", {"attempt": 1}, 404),
    ("POST", "/task/tsk_none-1/fail", {"attempt": 1, "error": {}}, 404),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def subjects(site: Site) -> dict[str, str]:
    """One of each thing that the table names."""
    ended = await site.call(
        "POST", "/session", {"workflow": "computed"}, headers={"Prefer": "wait=60"}
    )
    body = {"workflow": "one-step", "input": {"x": 1}}
    waiting = (await site.call("POST", "/session", body)).body["sessionId"]
    task = (await site.call("POST", "/task", {"capability": "nobody-can"})).body["taskId"]
    await site.call("POST", "/workflow", ASKING)
    await site.call("POST", "/workflow", NIGHTLY)
    asking = (await site.call("POST", "/session", {"workflow": "asking"})).body["sessionId"]
    return {
        "$asking": asking,
        "$approval": f"apr_{asking[4:]}-ask",
        "$agent": await site.agent("table", "table"),
        "$ended": ended.body["sessionId"],
        "$waiting": waiting,
        "$task": task,
    }


@pytest.mark.parametrize(("method", "path", "body", "status"), TABLE, ids=lambda one: str(one)[:60])
async def test_the_table(
    site: Site, subjects: dict[str, str], method: str, path: str, body: Any, status: int
) -> None:
    for name, value in subjects.items():
        path = path.replace(name, value)
    reply = await site.call(method, path, body)
    assert reply.status == status, reply.raw
    if status >= 400:
        assert reply.headers["content-type"] == "application/problem+json"
        assert isinstance(reply.body["detail"], str)


async def test_people_answer_what_is_asked(site: Site) -> None:
    await site.call("POST", "/workflow", ASKING)
    session = (await site.call("POST", "/session", {"workflow": "asking"})).good["sessionId"]
    view = (await site.call("GET", f"/session/{session}")).good
    approval = view["steps"]["ask"]["waitingFor"]["name"]
    assert (view["waitingFor"], view["steps"]["go"]["waitingFor"]) == (
        "approval",
        {"kind": "signal", "until": None, "name": "go"},
    )
    listed = (await site.call("GET", f"/approval?session={session}&status=pending")).good
    (found,) = listed["approvals"]
    assert (found["approvalId"], found["title"], found["details"]) == (approval, "Go?", {"n": 1})
    yes = {"contentHash": found["contentHash"], "by": "ada", "comment": "ok", "details": {"n": 2}}
    done = (await site.call("POST", f"/approval/{approval}/approve", yes)).good
    assert (done["status"], done["edited"]) == ("approved", True)
    assert done["votes"] == [{"by": "ada", "comment": "ok"}]
    again = await site.call("POST", f"/approval/{approval}/approve", yes)
    assert (again.status, again.body["code"]) == (409, "conflict")
    for _ in range(2):
        sent = await site.call(
            "POST", f"/session/{session}/signal/go", {"payload": 7, "signalId": "s"}
        )
        assert sent.good == {"sessionId": session, "signalId": "s"}
    assert (await site.call("GET", f"/session/{session}")).good["output"] == [
        {"n": 2},
        ["ada"],
        7,
    ]


async def test_an_agent_lives_and_leaves(site: Site) -> None:
    body = {
        **AGENT,
        "agentName": "whole",
        "agentId": "whole-1",
        "version": "1.0",
        "maxInFlight": 4,
        "labels": {"zone": "a"},
        "metadata": {"team": ["x"]},
        "schemas": {"table": {"type": "object"}},
    }
    made = await site.call("POST", "/agent", body)
    assert made.status == 201
    assert {key: made.body[key] for key in body} == body
    assert made.body["state"] == "unknown"
    again = await site.call("POST", "/agent", {**body, "version": "1.1"})
    assert (again.status, again.body["version"]) == (200, "1.1")
    patched = await site.call("PATCH", "/agent/whole-1", {"labels": {"zone": "b"}})
    assert (patched.body["labels"], patched.body["version"]) == ({"zone": "b"}, "1.1")
    drained = await site.call("POST", "/agent/whole-1/drain", {"reason": "rest"})
    assert (drained.status, drained.body["state"]) == (202, "draining")
    active = await site.call("POST", "/agent/whole-1/activate")
    assert active.status == 202
    assert active.body["state"] != "draining"
    history = (await site.call("GET", "/agent/whole-1/state/history")).body["states"]
    assert "draining" in [one["state"] for one in history]
    assert (await site.call("DELETE", "/agent/whole-1")).status == 204
    assert (await site.call("GET", "/agent/whole-1")).status == 404


async def test_a_report_of_an_unknown_agent_makes_it_known(site: Site) -> None:
    report = {"agentId": "surprise", "state": "UNKNOWN", "details": {"message": "hello"}}
    made = await site.call("POST", "/agent/surprise/state", report)
    assert (made.status, made.body["reportedState"]) == (202, "UNKNOWN")
    seen = (await site.call("GET", "/agent/surprise")).body
    assert seen["details"] == {"message": "hello"}


async def trigger(site: Site, body: dict[str, Any], **headers: str) -> Reply:
    agent_id = await site.agent("triggered", "triggered")
    return await site.call("POST", f"/agent/{agent_id}/workflow", body, headers=headers)


async def test_a_trigger_tolerates_what_agentkit_sends(site: Site) -> None:
    body = {
        "agentId": "extra",
        "workflowDefinitionId": "computed",
        "initialPayload": None,
        "context": {"trace": 1},
    }
    reply = await trigger(site, body)
    assert reply.status == 202
    assert set(reply.body) == {"sessionId", "workflowId", "message"}
    assert reply.body["workflowId"] == "computed"
    session = (await site.call("GET", f"/session/{reply.body['sessionId']}")).good
    assert (session["input"], session["context"]) == ({}, {"trace": 1})
    assert session["agentId"]


async def test_a_trigger_with_prefer_wait_has_the_result(site: Site) -> None:
    reply = await trigger(site, {"workflowDefinitionId": "computed"}, Prefer="wait=60")
    assert (reply.status, reply.body["status"], reply.body["output"]) == (200, "completed", 3)


async def test_a_trigger_creates_an_inline_definition_first(site: Site) -> None:
    definition = {**COMPUTED, "name": "inline"}
    for _ in range(2):
        reply = await trigger(site, {"workflowDefinition": definition})
        assert (reply.status, reply.body["workflowId"]) == (202, "inline")
    assert (await site.call("GET", "/workflow/inline")).body["definition"]["name"] == "inline"


async def test_a_template_in_yaml(site: Site) -> None:
    headers = {"content-type": "application/yaml"}
    made = await site.call("POST", "/workflow", data=YAML, headers=headers)
    assert (made.status, made.body["created"]) == (201, True)
    again = await site.call("POST", "/workflow", data=YAML, headers=headers)
    assert (again.status, again.body["created"]) == (200, False)
    assert again.body["digest"] == made.body["digest"]


async def test_a_wrong_template_says_where(site: Site) -> None:
    headers = {"content-type": "application/yaml"}
    wrong = YAML.replace(b"capability", b"capabillity")
    made = await site.call("POST", "/workflow", data=wrong, headers=headers)
    assert made.status == 400
    assert made.body["errors"][0]["line"] == 5
    checked = await site.call("POST", "/workflow/validate", data=wrong, headers=headers)
    assert (checked.status, checked.body["valid"]) == (200, False)
    assert checked.body["errors"] == made.body["errors"]
    fine = await site.call("POST", "/workflow/validate", data=YAML, headers=headers)
    assert (fine.body["valid"], fine.body["errors"]) == (True, [])


async def test_a_session_from_start_to_result(site: Site) -> None:
    agent_id = await site.agent("echoing", "echo")
    body = {
        "workflow": "one-step",
        "version": "1",
        "input": {"x": [1, "ü"]},
        "context": {"c": 1},
        "priority": 100,
        "labels": {"who": "me"},
    }
    started = await site.call("POST", "/session", body)
    assert (started.status, started.body["status"]) == (202, "waiting")
    session_id = started.body["sessionId"]
    tasks = await site.claim(agent_id, max=1)
    (task,) = [one for one in tasks if one["sessionId"] == session_id]
    assert (task["input"], task["context"]) == ({"x": [1, "ü"]}, {"c": 1})
    settlement = {
        "taskId": task["taskId"],
        "attempt": 1,
        "outcome": "completed",
        "output": {"done": 1},
        "usage": {"model": "m", "inputTokens": 3},
    }
    settled = await site.call("POST", "/task/settle", {"settlements": [settlement]})
    assert settled.body["verdicts"][0]["verdict"] == "recorded"
    session = (await site.call("GET", f"/session/{session_id}")).good
    assert (session["status"], session["output"]) == ("completed", {"done": 1})
    assert session["steps"]["only"]["tasks"] == [task["taskId"]]
    assert session["labels"] == {"who": "me"}
    assert session["finishedAt"].endswith("Z")
    shown = (await site.call("GET", f"/task/{task['taskId']}")).good
    assert [one["outcome"] for one in shown["attemptHistory"]] == ["completed"]
    assert (await site.call("DELETE", f"/session/{session_id}")).status == 204
    assert (await site.call("GET", f"/session/{session_id}")).status == 404


async def test_one_attempt_by_its_own_routes(site: Site) -> None:
    agent_id = await site.agent("single", "single")
    body = {"capability": "single", "retry": {"maxAttempts": 1}}
    task_id = (await site.call("POST", "/task", body)).body["taskId"]
    await site.claim(agent_id)
    for verb in ("heartbeat", "progress"):
        assert (await site.call("POST", f"/task/{task_id}/{verb}", {"attempt": 1})).status == 200
    error = {"class": "broken", "message": "no", "retryAfterSeconds": 1.5}
    failed = await site.call("POST", f"/task/{task_id}/fail", {"attempt": 1, "error": error})
    assert (failed.status, failed.body["verdict"]) == (200, "recorded")
    shown = (await site.call("GET", f"/task/{task_id}")).good
    assert (shown["status"], shown["error"]["class"]) == ("failed", "broken")
    late = await site.call("POST", f"/task/{task_id}/complete", {"attempt": 1})
    assert (late.status, late.body["code"]) == (409, "stale_attempt")
    dead = (await site.call("GET", "/task?dead=true&capability=single")).body["tasks"]
    assert [one["taskId"] for one in dead] == [task_id]
    assert (await site.call("POST", f"/task/{task_id}/retry")).status == 202


async def test_lists_page_by_cursor(site: Site) -> None:
    sessions = [{"workflow": "computed", "labels": {"page": "1"}}] * 5
    ids = (await site.call("POST", "/session/batch", {"sessions": sessions})).body["sessionIds"]
    assert len(set(ids)) == 5
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await site.call("GET", f"/session?label=page=1&limit=2{cursor}")).good
        seen += [one["sessionId"] for one in page["sessions"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert sorted(seen) == sorted(ids)


async def test_a_batch_with_one_wrong_payload_starts_nothing(site: Site) -> None:
    text = b'{"sessions":[{"workflow":"computed"},{"workflow":"computed","input":{"a":1e999}}]}'
    before = (await site.call("GET", "/session?workflow=computed&limit=500")).body["sessions"]
    reply = await site.call("POST", "/session/batch", text)
    assert (reply.status, reply.body["errors"][0]["pointer"]) == (400, "/sessions/1/input")
    after = (await site.call("GET", "/session?workflow=computed&limit=500")).body["sessions"]
    assert len(after) == len(before)


async def test_the_secret_of_an_http_agent_is_shown_once(site: Site) -> None:
    body = {"agentName": "called", "channel": "http", "contactEndpoint": "https://a.example/run"}
    made = await site.call("POST", "/agent", body)
    assert made.status == 201
    assert made.body["signingSecret"].startswith("whsec_")
    again = await site.call("POST", "/agent", body)
    assert again.status == 200
    read = await site.call("GET", f"/agent/{made.body['agentId']}")
    for reply in (again, read, await site.call("GET", "/agent")):
        assert b"ecret" not in reply.raw


@pytest.mark.parametrize(
    "endpoint", [None, "", "agent", "ftp://a.example/", "http://u:p@a.example"]
)
async def test_an_http_agent_says_where_it_is(site: Site, endpoint: str | None) -> None:
    body = {"agentName": "nowhere", "channel": "http", "contactEndpoint": endpoint}
    reply = await site.call("POST", "/agent", body)
    assert reply.status == 400
    assert reply.body["errors"][0]["pointer"] == "/contactEndpoint"
