"""The routes of the log records: filters, pages, times, tenants, and a store that is broken."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core.errors import Unavailable
from opscore.engine.logs import Logs, LogState
from tests.api.conftest import Reply, Site
from tests.api.test_live import begin


async def say(site: Site, operation: str, level: str = "info", **told: Any) -> None:
    await site.engine.debugging.log_operation(operation, told, level=level)


async def found(site: Site, query: str) -> list[dict[str, Any]]:
    return (await site.call("GET", f"/log?{query}")).good["records"]


async def test_every_filter_of_the_query_reaches_the_store(site: Site) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    told = {
        "agent_id": "agt_log",
        "agent": "logger",
        "session_id": "ses_log",
        "task_id": "ses_log-1",
        "attempt": 3,
        "trace_id": trace,
        "error_type": "timeout",
        "message": "the model took too long",
        "file": "main.py",
        "deep": {"line": 7},
    }
    await say(site, "model.called", "error", **told)
    await say(site, "model.called", "info", message="well")
    for query in (
        "agent=agt_log",
        "agent=logger",
        "session=ses_log",
        "task=ses_log-1",
        f"trace={trace}",
        "level=error&q=model",
        "errorType=timeout&q=took",
        "q=MODEL%20took",
        "q=ctx.file:main.py",
        "q=long%20ctx.deep.line:7",
        "ctx.file=main.py",
        "ctx.file=main.py&ctx.deep.line=7",
        "agent=logger&since=10m",
        "agent=logger&since=2020-01-01T00:00:00Z&until=2100-01-01T00:00:00Z",
    ):
        (one,) = await found(site, query)
        assert one["message"] == "the model took too long", query
    assert (one["agentId"], one["attempt"], one["errorType"]) == ("agt_log", 3, "timeout")
    assert one["context"] == {"file": "main.py", "deep": {"line": 7}}
    assert "spanId" not in one
    for query in ("agent=logger&until=10m", "agent=logger&ctx.file=x", "agent=logger&q=well"):
        assert await found(site, query) == [], query


async def test_pages_in_both_orders(site: Site) -> None:
    for number in range(5):
        await say(site, "paged", n=number)
    for order, wanted in (("newest", [4, 3, 2, 1, 0]), ("oldest", [0, 1, 2, 3, 4])):
        seen: list[int] = []
        cursor = ""
        while True:
            page = (await site.call("GET", f"/log?q=paged&limit=2&order={order}{cursor}")).good
            seen += [one["context"]["n"] for one in page["records"]]
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"
        assert seen == wanted


@pytest.mark.parametrize(
    "query",
    [
        "level=loud",
        "since=yesterday",
        "until=10",
        "trace=xyz",
        "q=%22",
        "q=",
        "cursor=x",
        "ctx=file",
        "limit=501",
        "order=up",
        "ctxfile=1",
        "agent.x=1",
        "ctx.a=1&ctx.a=2",
    ],
)
async def test_what_makes_no_sense_is_refused(site: Site, query: str) -> None:
    refused = await site.call("GET", f"/log?{query}")
    assert (refused.status, refused.body["status"]) == (400, 400), refused.raw


async def key_of(site: Site, namespace: str) -> dict[str, str]:
    made = await site.engine.keys.create(namespace, ["admin"], namespace=namespace)
    return {"Authorization": f"Bearer {made.token}"}


async def test_a_namespace_sees_and_deletes_its_own(site: Site) -> None:
    for namespace in ("log-a", "log-b", "*"):
        await say(site, "apart", namespace=namespace)
    for namespace in ("log-a", "log-b"):
        headers = await key_of(site, namespace)
        mine = await site.call("GET", "/log?q=apart", headers=headers)
        assert [one["namespace"] for one in mine.good["records"]] == [namespace]
    assert [one["namespace"] for one in await found(site, "q=apart")] == ["*"]
    everything = {"olderThanSeconds": 0}
    for body, status in (({"maxBytes": 0}, 403), ({**everything, "dryRun": True}, 200)):
        assert (await site.call("POST", "/log/gc", body, headers=headers)).status == status
    done = (await site.call("POST", "/log/gc", everything, headers=headers)).good
    assert done["outdated"] >= 1 and done["dryRun"] is False
    left = await site.call("GET", "/log?q=apart", headers=headers)
    assert left.good["records"] == []
    others = await site.call("GET", "/log?q=apart", headers=await key_of(site, "log-a"))
    assert len(others.good["records"]) == 1


async def test_agents_ship_theirs(site: Site) -> None:
    agent = await site.agent("shipper", "shipping")
    task = "ses_shipped-1"
    record = {
        "message": "slow model",
        "level": "warning",
        "context": {"model": "small", "token": 1},
    }
    told = {**record, "taskId": task, "attempt": 2, "at": "2020-01-01T00:00:00Z"}
    for word in (agent, "shipper", "nobody-known"):
        body = {"agent": word, "records": [told, {"message": "plain"}]}
        sent = await site.call("POST", "/log", body)
        assert (sent.status, sent.body) == (202, {"accepted": 2, "dropped": 0})
    first, second = await found(site, "agent=shipper&q=slow")
    assert first["agentId"] == second["agentId"] == agent
    assert first["at"] > "2026" and first["reportedAt"] == "2020-01-01T00:00:00Z"
    assert first["context"] == {"model": "small", "token": "***"}
    assert (first["taskId"], first["attempt"], first["actor"][:9]) == (task, 2, "operator:")
    (unknown,) = await found(site, "agent=nobody-known&q=slow")
    assert "agentId" not in unknown


@pytest.mark.parametrize(
    "body",
    [
        {"records": []},
        {"records": [{"message": "x"}] * 1001},
        {"records": [{"level": "info"}]},
        {"records": [{"message": "x", "level": "loud"}]},
        {"records": [{"message": "x", "traceId": "abc"}]},
        {"records": [{"message": "x", "namespace": "other"}]},
    ],
    ids=["none", "many", "wordless", "level", "trace", "namespace"],
)
async def test_what_cannot_be_shipped_is_refused(site: Site, body: Any) -> None:
    assert (await site.call("POST", "/log", body)).status == 400


async def test_a_bound_key_ships_as_its_agent_only(site: Site) -> None:
    await site.agent("log-mine", "log-mine")
    other = await site.agent("log-other", "log-other")
    body = {"name": "bound-log", "agent": "log-mine", "scopes": ["agent:report"]}
    made = (await site.call("POST", "/key", body)).good
    headers = {"Authorization": f"Bearer {made['key']}"}
    records = [{"message": "bound"}]
    foreign = {"agent": other, "records": records}
    assert (await site.call("POST", "/log", foreign, headers=headers)).status == 403
    assert (await site.call("POST", "/log", {"records": records}, headers=headers)).status == 202
    (one,) = await found(site, "q=bound")
    assert one["agent"] == "log-mine"


async def test_a_failure_is_found_by_what_it_was(site: Site) -> None:
    agent = await site.agent("log-agent", "log-work")
    task, session = await begin(site, "log-work")
    (attempt,) = await site.claim(agent)
    error = {"class": "model_refused", "message": "not today"}
    body = {"attempt": attempt["attempt"], "error": error}
    await site.call("POST", f"/task/{task}/fail", body)
    (one, *_) = await found(site, "agent=log-agent&errorType=model_refused")
    assert (one["sessionId"], one["taskId"], one["message"]) == (session, task, "not today")
    shown = (await site.call("GET", f"/session/{session}")).good
    assert one["traceId"] == shown["traceId"]


async def test_a_broken_log_store_is_named_and_its_routes_say_come_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Logs) -> LogState:
        return LogState("the disk is full", 7, 0)

    async def refuse(*_: Any, **__: Any) -> None:
        raise Unavailable("the disk is full", code="logs_unavailable", retry_after=5)

    monkeypatch.setattr(Logs, "state", property(broken))
    monkeypatch.setattr(Logs, "search", refuse)
    monkeypatch.setattr(Logs, "forget", refuse)
    monkeypatch.setattr(Logs, "newest", refuse)
    ready = await site.call("GET", "/ready", root=True)
    assert ready.status == 200 and ready.body["ready"] is True
    assert ready.body["logs"] == {"problem": "the disk is full", "dropped": 7}
    shipped = {"records": [{"message": "x"}]}
    replies: list[Reply] = [
        await site.call("GET", "/log"),
        await site.call("GET", "/log/stream"),
        await site.call("POST", "/log/gc", {}),
        await site.call("POST", "/log", shipped),
    ]
    for reply in replies:
        assert (reply.status, reply.body["code"]) == (503, "logs_unavailable")
        assert reply.headers["Retry-After"] == "5"
