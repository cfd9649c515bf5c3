"""Two tenants, every id swapped: what is another's is not there, and leaves no trace."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from opscore.api.settings import ServerSettings
from tests.api.conftest import KEY, ONE_STEP, Reply, Site, serving
from tests.api.permissions import NEEDS, full

MARK = "only-tenant-a-knows"
REPORT = {"state": "active", "timestamp": "2026-04-01T12:00:00Z"}


@dataclass(frozen=True)
class Tenant:
    """A namespace with one of everything, and a key that has every right in it."""

    site: Site
    namespace: str
    key: str
    ids: dict[str, str]

    async def call(self, route: str, body: Any = None, ids: dict[str, str] | None = None) -> Reply:
        """Call a route of `NEEDS` with these ids, or one's own."""
        method, path = route.split(" ", 1)
        for name, value in (ids or self.ids).items():
            path = path.replace(f"{{{name}}}", value)
        headers = {"Authorization": f"Bearer {self.key}"}
        return await self.site.call(method, full(path), body, headers=headers, root=True)

    async def everything(self) -> str:
        """All that the tenant can read, as one text."""
        found = [
            (await self.call(route)).raw.decode()
            for route, need in sorted(NEEDS.items())
            if route.startswith("GET")
            and need != "public"
            and not route.endswith(("/stream", "/event", "//metrics"))
        ]
        # Figures count these very reads, and have a test of their own (test_metrics.py).
        # When it was read, and when the key was used to read it, say nothing of what is there.
        # Neither does how long something has gone on until then.
        text = re.sub(
            r'"(lastUsedAt|at)":"[^"]*"|"bottleneck":{[^}]*}|{"since":"[^"]*"', "", "\n".join(found)
        )
        return re.sub(r'"(seconds|totalSeconds|\w+Seconds)":[\d.e-]+', "", text)


async def tenant(site: Site, namespace: str, mark: str) -> Tenant:
    made = await site.engine.keys.create(mark, ["admin"], namespace=namespace)
    one = Tenant(site, namespace, made.token or "", {"keyId": made.key.key_id})
    agent = {"agentName": mark, "agentId": f"agent-of-{mark}", "capabilities": [mark]}
    one.ids["agentId"] = (await one.call("POST /agent", {**agent, "maxInFlight": 9})).good[
        "agentId"
    ]
    template = {**ONE_STEP, "name": mark, "description": mark}
    await one.call("POST /workflow", template)
    one.ids.update(name=mark, version="1")
    await one.call("POST /session", {"workflow": mark, "input": {"x": mark}})
    asking: dict[str, Any] = {
        "name": f"{mark}-asks",
        "version": "1",
        "steps": {"ask": {"approval": {"title": mark}}},
        "schedule": {"every": "30d"},
    }
    await one.call("POST /workflow", asking)
    one.ids["scheduleId"] = asking["name"]
    await one.call("POST /session", {"workflow": asking["name"]})
    [approval] = (await one.call("GET /approval")).good["approvals"]
    one.ids["approvalId"] = approval["approvalId"]
    task = {"capability": mark, "input": {"word": mark}, "labels": {"word": mark}}
    enqueued = (await one.call("POST /task", task)).good
    one.ids.update(taskId=enqueued["taskId"], sessionId=enqueued["sessionId"])
    claim: dict[str, Any] = {"instanceId": f"instance-of-{mark}", "max": 1, "holding": []}
    claimed = (await one.call("POST /agent/{agentId}/claim", claim)).good["tasks"]
    assert [each["taskId"] for each in claimed] == [one.ids["taskId"]]
    return one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenants() -> AsyncGenerator[tuple[Tenant, Tenant], None]:
    async with serving(ServerSettings(api_key=KEY, stop_seconds=2)) as site:
        yield await tenant(site, "a", MARK), await tenant(site, "b", "tenant-b")


ATTEMPT = {"attempt": 1}
SWAPPED: dict[str, Any] = {
    "GET /agent/{agentId}": None,
    "PATCH /agent/{agentId}": {"version": "2"},
    "DELETE /agent/{agentId}": None,
    "GET /agent/{agentId}/state": None,
    "GET /agent/{agentId}/state/history": None,
    "POST /agent/{agentId}/heartbeat": {"instanceId": "i", "attempts": []},
    "POST /agent/{agentId}/drain": {},
    "POST /agent/{agentId}/activate": None,
    "POST /agent/{agentId}/workflow": {"workflowDefinitionId": "tenant-b"},
    "POST /agent/{agentId}/claim": {"instanceId": "i", "max": 1},
    "GET /workflow/{name}": None,
    "GET /workflow/{name}/{version}": None,
    "GET /session/{sessionId}": None,
    "PATCH /session/{sessionId}": {"priority": 1},
    "DELETE /session/{sessionId}": None,
    "GET /session/{sessionId}/history": None,
    "GET /session/{sessionId}/why": None,
    "GET /session/{sessionId}/trace": None,
    "GET /session/{sessionId}/stream": None,
    "POST /session/{sessionId}/cancel": {},
    "POST /session/{sessionId}/pause": {},
    "POST /session/{sessionId}/resume": {},
    "POST /session/{sessionId}/retry": {},
    "GET /task/{taskId}": None,
    "PATCH /task/{taskId}": {"priority": 1},
    "GET /task/{taskId}/why": None,
    "POST /task/{taskId}/cancel": {},
    "POST /task/{taskId}/retry": None,
    "POST /task/{taskId}/fallback": None,
    "POST /task/{taskId}/heartbeat": ATTEMPT,
    "POST /task/{taskId}/progress": {**ATTEMPT, "message": "x"},
    "POST /task/{taskId}/complete": {**ATTEMPT, "output": 1},
    "POST /task/{taskId}/fail": {**ATTEMPT, "error": {"class": "error", "message": "m"}},
    "POST /session/{sessionId}/signal/{name}": {"payload": 1},
    "GET /approval/{approvalId}": None,
    "POST /approval/{approvalId}/approve": {"contentHash": "0" * 64},
    "POST /approval/{approvalId}/reject": {},
    "GET /schedule/{scheduleId}": None,
    "POST /schedule/{scheduleId}/pause": None,
    "POST /schedule/{scheduleId}/resume": None,
    "POST /schedule/{scheduleId}/trigger": None,
    "GET /key/{keyId}": None,
    "DELETE /key/{keyId}": None,
    "POST /key/{keyId}/rotate": {},
}
"""A request of each route that names something: right in all but whose it is."""

APART = {
    "POST /agent/{agentId}/state",
    "WEBSOCKET /agent/{agentId}/channel",
    "GET /schema/{name}",
}
"""Routes that name something and have a test of their own, or nothing of a tenant's."""

NAMED = sorted(route for route in NEEDS if "{" in route)


def test_every_route_that_names_something_is_tried() -> None:
    assert set(NAMED) == set(SWAPPED) | APART


async def unchanged(tenants: tuple[Tenant, Tenant], replies: list[Reply], before: str) -> None:
    """Nothing of tenant A was told, and nothing of it changed."""
    for reply in replies:
        assert MARK not in reply.raw.decode().replace(f"agent-of-{MARK}", ""), reply.raw
    assert await tenants[0].everything() == before


@pytest.mark.parametrize("route", sorted(SWAPPED))
async def test_what_is_anothers_is_not_there(tenants: tuple[Tenant, Tenant], route: str) -> None:
    ours, theirs = tenants
    before = await ours.everything()
    swapped = await theirs.call(route, SWAPPED[route], ours.ids)
    assert (swapped.status, swapped.body["code"]) == (404, "not_found"), swapped.raw
    none = {name: f"{value[:4]}nothing-1" for name, value in ours.ids.items()}
    unknown = await theirs.call(route, SWAPPED[route], none)
    assert unknown.status == 404
    assert sorted(unknown.body) == sorted(swapped.body)
    assert alike(swapped, ours.ids) == alike(unknown, none)
    assert await ours.everything() == before


def alike(reply: Reply, ids: dict[str, str]) -> str:
    """What is told, without the ids that were asked for: the same for what never was."""
    text = json.dumps({**reply.body, "traceId": None})
    for value in sorted(ids.values(), key=len, reverse=True):
        text = text.replace(value, "…")
    return text


async def test_what_is_ones_own_is_there(tenants: tuple[Tenant, Tenant]) -> None:
    for one in tenants:
        for route, body in SWAPPED.items():
            if (
                body is None
                and route.startswith("GET")
                and not route.endswith(("/stream", "/event"))
            ):
                assert (await one.call(route)).status == 200, route


async def test_lists_hold_ones_own(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    assert MARK in await ours.everything()
    assert MARK not in await theirs.everything()
    filters = [f"GET /task?{name}" for name in ("capability={name}", "session={sessionId}")]
    filters += [f"GET /session?{name}" for name in ("workflow={name}", "label=word={name}")]
    filters += ["GET /agent?capability={name}", "GET /agent?q={name}", "GET /task?agent={agentId}"]
    for route in filters:
        assert MARK in (await ours.call(route)).raw.decode(), route
        found = (await theirs.call(route, None, ours.ids)).good
        assert [value for value in found.values() if isinstance(value, list) and value] == []


async def test_batches_hold_ones_own(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    before = await ours.everything()
    pair = [ours.ids["taskId"], 1]
    settlement = {"taskId": pair[0], "attempt": 1, "outcome": "completed", "output": 1}
    settled = await theirs.call("POST /task/settle", {"settlements": [settlement] * 2})
    assert [one["verdict"] for one in settled.good["verdicts"]] == ["unknown_task"] * 2
    beat = {"instanceId": "i", "attempts": [pair]}
    beaten = await theirs.call("POST /agent/{agentId}/heartbeat", beat)
    assert beaten.good["stale"] == [pair]
    claim = {"instanceId": "i", "max": 9, "holding": [pair]}
    claimed = await theirs.call("POST /agent/{agentId}/claim", claim)
    assert claimed.good["tasks"] == []
    own = {"workflow": "tenant-b", "input": {"x": 1}}
    starts = {"sessions": [own, {**own, "workflow": ours.ids["name"]}]}
    started = await theirs.call("POST /session/batch", starts)
    assert started.status == 404
    assert len((await theirs.call("GET /session?workflow=tenant-b")).good["sessions"]) == 1
    await unchanged(tenants, [settled, beaten, claimed], before)


async def test_anothers_instance_is_left_alone(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    before = await ours.everything()
    instance = f"instance-of-{MARK}"
    claim: dict[str, Any] = {"instanceId": instance, "max": 9, "holding": []}
    replies = [
        await theirs.call("POST /agent/{agentId}/claim", claim),
        await theirs.call(
            "POST /agent/{agentId}/heartbeat",
            {"instanceId": instance, "attempts": [[ours.ids["taskId"], 1]]},
        ),
    ]
    assert [reply.status for reply in replies] == [200, 202]
    assert replies[1].body["stale"] == [[ours.ids["taskId"], 1]]
    assert await ours.everything() == before


async def test_anothers_agent_id_can_be_ones_own(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    before = await ours.everything()
    agent_id = ours.ids["agentId"]
    report = {**REPORT, "agentId": agent_id}
    replies = [
        await theirs.call("POST /agent/{agentId}/state", report, ours.ids),
        await theirs.call("POST /agent", {"agentName": "second", "agentId": agent_id}),
        await theirs.call("GET /agent/{agentId}", None, ours.ids),
        await theirs.call("GET /agent/{agentId}/state/history", None, ours.ids),
        await theirs.call("DELETE /agent/{agentId}", None, ours.ids),
    ]
    assert [reply.status for reply in replies] == [202, 201, 200, 200, 204]
    await unchanged(tenants, replies, before)


async def test_the_channel_to_anothers_agent_is_closed(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    before = await ours.everything()
    url = f"{ours.site.url}/v1/opscore/agent/{ours.ids['agentId']}/channel"
    headers = {"Authorization": f"Bearer {theirs.key}"}
    async with aiohttp.ClientSession(headers=headers) as http, http.ws_connect(url) as socket:
        hello = {"type": "hello", "instanceId": "i", "maxInFlight": 1}
        await socket.send_json({**hello, "holding": [[ours.ids["taskId"], 1]]})
        refused = await socket.receive_json()
        assert (refused["type"], refused["problem"]["code"]) == ("problem", "not_found")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    assert await ours.everything() == before
