"""The audit over HTTP: every change that people and keys order is a record, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from opscore.api.settings import ServerSettings
from tests.api.conftest import COMPUTED, KEY, ONE_STEP, Reply, Site, serving
from tests.api.permissions import NEEDS

WAITS = {
    "name": "waits",
    "version": "1",
    "steps": {
        "go": {"signal": {"name": "go"}},
        "sure": {"approval": {"title": "sure?"}},
    },
}
DAILY = {**COMPUTED, "name": "daily", "schedule": {"every": "1d"}}
FAILS = {
    "name": "fails",
    "version": "1",
    "steps": {"a": {"capability": "fails", "retry": 1, "fallback": [{"capability": "nobody"}]}},
}

RECORDED = {
    "POST /agent": "agent.registered",
    "PATCH /agent/{agentId}": "agent.changed",
    "DELETE /agent/{agentId}": "agent.deregistered",
    "POST /agent/{agentId}/drain": "agent.drained",
    "POST /agent/{agentId}/activate": "agent.activated",
    "POST /agent/{agentId}/workflow": "session.started",
    "POST /workflow": "workflow.created",
    "POST /session": "session.started",
    "POST /session/batch": "session.started",
    "PATCH /session/{sessionId}": "session.changed",
    "DELETE /session/{sessionId}": "session.deleted",
    "POST /session/cancel": "session.cancelled",
    "POST /session/{sessionId}/cancel": "session.cancelled",
    "POST /session/{sessionId}/pause": "session.paused",
    "POST /session/{sessionId}/resume": "session.resumed",
    "POST /session/{sessionId}/retry": "session.retried",
    "POST /session/{sessionId}/signal/{name}": "session.signalled",
    "POST /task": "session.started",
    "POST /task/retry": "task.retried",
    "POST /task/fallback": "task.given_up",
    "PATCH /task/{taskId}": "task.changed",
    "POST /task/{taskId}/cancel": "task.cancelled",
    "POST /task/{taskId}/retry": "task.retried",
    "POST /task/{taskId}/fallback": "task.given_up",
    "POST /approval/{approvalId}/approve": "approval.approved",
    "POST /approval/{approvalId}/reject": "approval.rejected",
    "POST /schedule/{scheduleId}/pause": "schedule.paused",
    "POST /schedule/{scheduleId}/resume": "schedule.resumed",
    "POST /schedule/{scheduleId}/trigger": "session.started",
    "POST /key": "key.created",
    "POST /key/{keyId}/rotate": "key.rotated",
    "DELETE /key/{keyId}": "key.revoked",
    "POST /log/gc": "log.deleted",
    "POST /internal/agent/notify": "agent.registered",
}
NOT_RECORDED = {
    "POST /agent/{agentId}/state",
    "POST /agent/{agentId}/heartbeat",
    "POST /agent/{agentId}/claim",
    "WEBSOCKET /agent/{agentId}/channel",
    "WEBSOCKET /event/ws",
    "POST /workflow/validate",
    "POST /workflow/plan",
    "POST /task/settle",
    "POST /task/{taskId}/heartbeat",
    "POST /task/{taskId}/progress",
    "POST /task/{taskId}/complete",
    "POST /task/{taskId}/fail",
    "POST /internal/agent/refresh",
    "POST /log",
    "POST //v1/traces",
    "POST //v1/logs",
}
"""Agents' own work, which is in the journal with its actor, and what changes nothing."""

AGENT: dict[str, Any] = {"agentId": "ak", "agentName": "ak", "version": "1", "capabilities": []}
BODIES: dict[str, Any] = {
    "POST /agent": {"agentName": "fresh"},
    "PATCH /agent/{agentId}": {"labels": {"a": "b"}},
    "POST /agent/{agentId}/workflow": {"workflowDefinitionId": "computed"},
    "POST /workflow": {**COMPUTED, "version": "2"},
    "POST /session": {"workflow": "computed"},
    "POST /session/batch": {"sessions": [{"workflow": "computed"}, {"workflow": "computed"}]},
    "POST /task": {"capability": "echo"},
    "POST /key": {"name": "made", "scopes": ["operate"]},
    "POST /log/gc": {"olderThanSeconds": 0},
    "POST /internal/agent/notify": {"event_type": "REGISTER", "agent_details": AGENT},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncGenerator[Site, None]:
    """A server of this module's own: what others do would be recorded too."""
    settings = ServerSettings(api_key=KEY)
    async with serving(settings, headers={"Authorization": f"Bearer {KEY}"}) as one:
        for tree in (ONE_STEP, COMPUTED, WAITS, DAILY, FAILS):
            await one.call("POST", "/workflow", tree)
        yield one


async def newest(site: Site) -> list[dict[str, Any]]:
    """All records, the oldest first."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await site.call("GET", f"/audit?limit=500{cursor}")).good
        found += page["records"]
        if page["nextCursor"] is None:
            return found[::-1]
        cursor = f"&cursor={page['nextCursor']}"


def test_every_route_that_changes_something_is_one_or_the_other() -> None:
    changing = {route for route in NEEDS if not route.startswith("GET ")}
    assert set(RECORDED) | NOT_RECORDED == changing
    assert not set(RECORDED) & NOT_RECORDED


class Scene:
    """What the requests below need."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def started(self, workflow: str, **more: Any) -> str:
        body = {"workflow": workflow, "input": {"x": 1}, **more}
        return (await self.site.call("POST", "/session", body)).good["sessionId"]

    async def task(self) -> str:
        session = (
            await self.site.call("GET", f"/task?session={await self.started('one-step')}")
        ).good
        return session["tasks"][0]["taskId"]

    async def failed(self) -> tuple[str, str]:
        """A session in error and its task, for which nobody is left."""
        body = {"capability": "fails", "retry": 1}
        made = (await self.site.call("POST", "/task", body)).good
        agent = await self.site.agent("failing", "fails")
        taken = await self.site.claim(agent, waitSeconds=5)
        error = {"error": {"class": "broken", "message": "no"}}
        for one in taken:
            told = {"attempt": one["attempt"], **error}
            await self.site.call("POST", f"/task/{one['taskId']}/fail", told)
        return made["sessionId"], made["taskId"]

    async def prepare(self, route: str) -> tuple[str, Any]:
        """The path and the body of a request that will be carried out."""
        path = route.split()[1]
        if "{agentId}" in path:
            agent = await self.site.agent(
                f"agent-{route.split(maxsplit=1)[0]}-{path.split('/')[-1]}"
            )
            path = path.replace("{agentId}", agent)
            if path.endswith("/activate"):
                await self.site.call("POST", f"/agent/{agent}/drain", {})
        return await self._rest(route, path)

    async def _rest(self, route: str, path: str) -> tuple[str, Any]:
        if route in BODIES and "{" not in path:
            return path, BODIES[route]
        match route:
            case "POST /session/cancel":
                await self.started("one-step", labels={"bulk": "yes"})
                return path, {"label": "bulk=yes"}
            case "DELETE /session/{sessionId}":
                return f"/session/{await self.started('computed')}", None
            case "PATCH /session/{sessionId}":
                return f"/session/{await self.started('one-step')}", {"priority": 9}
            case "POST /session/{sessionId}/retry":
                return f"/session/{(await self.failed())[0]}/retry", None
            case "POST /session/{sessionId}/resume":
                session = await self.started("one-step")
                await self.site.call("POST", f"/session/{session}/pause")
                return f"/session/{session}/resume", None
            case "POST /session/{sessionId}/signal/{name}":
                return f"/session/{await self.started('waits')}/signal/go", {"payload": 1}
            case _:
                return await self._task_or_approval(route, path)

    async def _task_or_approval(self, route: str, path: str) -> tuple[str, Any]:
        match route:
            case "POST /task/retry":
                return path, {"session": (await self.failed())[0]}
            case "POST /task/{taskId}/retry":
                return f"/task/{(await self.failed())[1]}/retry", None
            case "POST /task/fallback" | "POST /task/{taskId}/fallback":
                session = await self.started("fails")
                listed = (await self.site.call("GET", f"/task?session={session}")).good["tasks"]
                path = path.replace("{taskId}", listed[0]["taskId"])
                by_filter = {"status": "available", "session": session}
                return path, by_filter if "{" not in route else None
            case "PATCH /task/{taskId}":
                return f"/task/{await self.task()}", {"priority": 9}
            case "POST /approval/{approvalId}/approve" | "POST /approval/{approvalId}/reject":
                query = f"session={await self.started('waits')}"
                (one,) = (await self.site.call("GET", f"/approval?{query}")).good["approvals"]
                return path.replace("{approvalId}", one["approvalId"]), {
                    "contentHash": one["contentHash"]
                }
            case _:
                return await self._by_id(path), None

    async def _by_id(self, path: str) -> str:
        if "{sessionId}" in path:
            return path.replace("{sessionId}", await self.started("one-step"))
        if "{taskId}" in path:
            return path.replace("{taskId}", await self.task())
        if "{keyId}" in path:
            made = await self.site.call("POST", "/key", {"name": "k", "scopes": ["operate"]})
            return path.replace("{keyId}", made.good["keyId"])
        if path.endswith("/resume"):
            await self.site.call("POST", "/schedule/daily/pause")
        return path.replace("{scheduleId}", "daily")


async def carried_out(site: Site, route: str, **options: Any) -> tuple[Reply, list[dict[str, Any]]]:
    """Carry out a request of that route; its answer, and the records that it left."""
    scene = Scene(site)
    path, body = await scene.prepare(route)
    before = len(await newest(site))
    reply = await site.call(route.split(maxsplit=1)[0], path, body, **options)
    assert reply.status < 300, (route, reply.raw)
    if options:
        again = await site.call(route.split(maxsplit=1)[0], path, body, **options)
        assert again.status < 300 or again.body["code"] == "told_once"
    return reply, (await newest(site))[before:]


@pytest.mark.parametrize("route", sorted(RECORDED))
async def test_a_change_is_one_record_however_often_it_is_asked_for(site: Site, route: str) -> None:
    once = {"headers": {"Idempotency-Key": "the-same-change"}}
    reply, records = await carried_out(site, route, **once)
    assert [one["action"] for one in records] == [RECORDED[route]]
    (one,) = records
    keys = await site.call("GET", "/key?limit=500")
    (root,) = [k["keyId"] for k in keys.good["keys"] if k["name"] == "OPSCORE_API_KEY"]
    if "notify" not in route:
        assert (one["actor"], one["keyId"]) == (f"operator:{root}", root)
    assert one["namespace"] == "default"
    told = [*one["details"].get("sessions", ()), *one["details"].get("tasks", ())]
    assert one["subject"] or told
    if reply.raw and "sessionId" in reply.body and one["action"] == "session.started":
        assert one["subject"] == reply.body["sessionId"]


async def test_what_is_refused_or_changes_nothing_leaves_none(site: Site) -> None:
    agent = {"agentName": "quiet", "capabilities": ["a"]}
    quiet = (await site.call("POST", "/agent", agent)).good["agentId"]
    ended = await Scene(site).started("computed")
    spent = (await site.call("POST", "/key", {"name": "spent", "scopes": ["operate"]})).good[
        "keyId"
    ]
    await site.call("DELETE", f"/key/{spent}")
    signal = f"/session/{await Scene(site).started('waits')}/signal/go"
    await site.call("POST", signal, {"signalId": "s-1"})
    before = await newest(site)
    for method, path, body in (
        ("POST", "/agent", agent),
        ("PATCH", f"/agent/{quiet}", {"capabilities": ["a"]}),
        ("PATCH", f"/agent/{quiet}", {"maxInFlight": -1}),
        ("POST", f"/agent/{quiet}/activate", None),
        ("POST", "/workflow", ONE_STEP),
        ("POST", "/workflow", {**ONE_STEP, "output": 4}),
        ("POST", "/session", {"workflow": "nothing"}),
        ("POST", f"/session/{ended}/cancel", {}),
        ("POST", f"/session/{ended}/pause", {}),
        ("DELETE", "/session/ses_nothing", None),
        ("DELETE", f"/key/{spent}", None),
        ("POST", f"/key/{spent}/rotate", {}),
        ("POST", "/key", {"name": "x", "scopes": ["nothing"]}),
        ("POST", signal, {"signalId": "s-1"}),
        ("POST", "/session/cancel", {"workflow": "one-step", "dryRun": True}),
        ("POST", "/schedule/nothing/pause", None),
    ):
        await site.call(method, path, body)
        assert await newest(site) == before, (method, path, body)


async def test_agents_own_work_leaves_none(site: Site) -> None:
    agent = await site.agent("worker", "own-work")
    await site.call("POST", "/task", {"capability": "own-work"})
    before = await newest(site)
    (one,) = await site.claim(agent, waitSeconds=5)
    report = {"agentId": agent, "timestamp": "2026-01-01T00:00:00Z", "state": "active"}
    await site.call("POST", f"/agent/{agent}/state", report)
    beat = {"attempt": one["attempt"]}
    await site.call("POST", f"/task/{one['taskId']}/progress", {**beat, "fraction": 0.5})
    assert (await site.call("POST", f"/task/{one['taskId']}/complete", beat)).status == 200
    assert await newest(site) == before


async def test_a_list_is_filtered_and_paged(site: Site) -> None:
    made = (await site.call("POST", "/key", {"name": "found", "scopes": ["session:start"]})).good
    shown = {"headers": {"Authorization": f"Bearer {made['key']}"}}
    begun = (await site.call("POST", "/session", {"workflow": "computed"}, **shown)).good
    many = {"sessions": [{"workflow": "computed"}] * 3}
    batch = (await site.call("POST", "/session/batch", many, **shown)).good["sessionIds"]
    for query, count in (
        (f"key={made['keyId']}", 2),
        (f"actor=operator:{made['keyId']}", 2),
        (f"key={made['keyId']}&action=session.started&limit=1", 1),
        (f"subject={begun['sessionId']}", 1),
        (f"subject={batch[1]}", 1),
        (f"subject={made['keyId']}", 1),
        ("subject=nothing", 0),
        ("until=2000-01-01T00:00:00Z", 0),
        (f"key={made['keyId']}&since=2000-01-01T00:00:00Z", 2),
    ):
        page = (await site.call("GET", f"/audit?{query}")).good
        assert len(page["records"]) == count, query
    assert (await site.call("GET", "/audit?cursor=x")).status == 400
    assert (await site.call("GET", "/audit", **shown)).status == 403


async def test_a_tenant_sees_its_own_only(site: Site) -> None:
    body = {"name": "tenant", "scopes": ["admin"], "namespace": "acme"}
    made = (await site.call("POST", "/key", body)).good
    shown = {"headers": {"Authorization": f"Bearer {made['key']}"}}
    page = (await site.call("GET", "/audit", **shown)).good["records"]
    assert [one["subject"] for one in page] == [made["keyId"]]
    assert (await site.call("GET", "/audit?namespace=default", **shown)).status == 403
    everything = {one["namespace"] for one in await newest(site)}
    assert everything == {"*", "default", "acme"}


async def test_no_record_holds_what_bodies_hold(site: Site) -> None:
    told = json.dumps(await newest(site))
    assert "opc_" not in told and "whsec_" not in told and KEY not in told
