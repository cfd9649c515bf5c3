"""A key that is bound to an agent acts as that agent and no other; a revoked one acts no more."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from opscore.api.app import by_path
from opscore.api.route import BASE
from tests.api.conftest import Site

FILLED = {"name": "one-step", "version": "1", "sessionId": "ses_x", "taskId": "tsk_x-1"}


@dataclass(frozen=True)
class Pair:
    """Two agents, and a key that is bound to the first."""

    site: Site
    mine: str
    other: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        return await self.site.call(method, path, body, headers=self.headers)

    async def task(self, agent: str) -> dict[str, Any]:
        """A task that the agent named has claimed; with its attempt."""
        await self.site.call("POST", "/task", {"agent": agent})
        agent_id = self.mine if agent == "bound-mine" else self.other
        [task] = await self.site.claim(agent_id)
        return task


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(site: Site) -> Pair:
    mine, other = await site.agent("bound-mine", "mine"), await site.agent("bound-other", "other")
    body = {
        "name": "bound",
        "agent": "bound-mine",
        "scopes": ["agent:work", "agent:report", "session:start", "session:read"],
    }
    made = (await site.call("POST", "/key", body)).good
    return Pair(site, mine, other, made["key"])


OF_AGENTS = sorted(
    (one.method, one.path)
    for operations in by_path().values()
    for one in operations
    if "{agentId}" in one.path
)


@pytest.mark.parametrize(("method", "path"), OF_AGENTS)
@pytest.mark.parametrize("who", ["other", "nobody"])
async def test_no_route_lets_it_name_another_agent(
    pair: Pair, method: str, path: str, who: str
) -> None:
    agent_id = pair.other if who == "other" else "agt_nobody"
    filled = path.replace("{agentId}", agent_id)
    for name, value in FILLED.items():
        filled = filled.replace(f"{{{name}}}", value)
    reply = await pair.call(method, filled, {"agentId": agent_id, "state": "idle"})
    assert reply.status == 403, reply.raw


async def test_it_acts_as_its_own_agent(pair: Pair) -> None:
    report = {"agentId": pair.mine, "timestamp": "2026-01-01T00:00:00Z", "state": "idle"}
    assert (await pair.call("POST", f"/agent/{pair.mine}/state", report)).status == 202
    beat = {"instanceId": "bound-1"}
    assert (await pair.call("POST", f"/agent/{pair.mine}/heartbeat", beat)).status == 202
    again = {"agentName": "bound-mine", "capabilities": ["mine"]}
    assert (await pair.call("POST", "/agent", again)).status == 200
    refused = await pair.call("POST", "/agent", {"agentName": "bound-other"})
    assert (refused.status, refused.body["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("heartbeat", {}),
        ("progress", {"fraction": 0.5}),
        ("complete", {"output": 1}),
        ("fail", {"error": {"class": "error", "message": "m"}}),
    ],
)
async def test_it_touches_no_attempt_of_another(pair: Pair, verb: str, body: Any) -> None:
    for agent, status in (("bound-other", 409), ("bound-mine", 200)):
        task = await pair.task(agent)
        path = f"/task/{task['taskId']}"
        reply = await pair.call("POST", f"{path}/{verb}", {"attempt": task["attempt"], **body})
        assert reply.status == status, reply.raw
        if status == 409:
            assert (await pair.site.call("GET", path)).good["status"] == "running"
            done = {"attempt": task["attempt"], "output": 1}
            await pair.site.call("POST", f"{path}/complete", done)


async def test_it_touches_no_attempt_of_another_in_a_batch(pair: Pair) -> None:
    theirs, own = await pair.task("bound-other"), await pair.task("bound-mine")
    settlements = [
        {"taskId": one["taskId"], "attempt": one["attempt"], "outcome": "completed", "output": 1}
        for one in (theirs, own)
    ]
    reply = await pair.call("POST", "/task/settle", {"settlements": settlements})
    assert [one["verdict"] for one in reply.good["verdicts"]] == ["stale_attempt", "recorded"]
    beat = {
        "instanceId": f"{pair.other}-1",
        "attempts": [[theirs["taskId"], theirs["attempt"]]],
    }
    stale = await pair.call("POST", f"/agent/{pair.mine}/heartbeat", beat)
    assert stale.status == 409 or stale.good["stale"] == beat["attempts"]


async def test_the_channel_is_its_own_agents_only(pair: Pair) -> None:
    url = f"{pair.site.url}{BASE}/agent/{{}}/channel"
    async with aiohttp.ClientSession(headers=pair.headers) as http:
        for agent_id in (pair.other, "agt_nobody"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(url.format(agent_id))
            assert refused.value.status == 403
        theirs = await pair.task("bound-other")
        async with http.ws_connect(url.format(pair.mine)) as socket:
            await socket.send_json({"type": "hello", "instanceId": "bound-ws", "maxInFlight": 1})
            assert (await socket.receive_json())["type"] == "welcome"
            one = {"taskId": theirs["taskId"], "attempt": theirs["attempt"]}
            await socket.send_json({"type": "progress", **one, "message": "mine now"})
            assert (await socket.receive_json())["type"] == "stale"
            settlement = {**one, "outcome": "completed", "output": 1}
            await socket.send_json({"type": "settle", "settlements": [settlement]})
            verdicts = (await socket.receive_json())["verdicts"]
            assert [each["verdict"] for each in verdicts] == ["stale_attempt"]


async def test_a_key_that_starts_sessions_brings_no_templates(site: Site) -> None:
    agent = await site.agent("inline", "inline")
    made = await site.call("POST", "/key", {"name": "s", "scopes": ["session:start"]})
    headers = {"Authorization": f"Bearer {made.good['key']}"}
    definition = {"name": "computed", "version": "2", "steps": {"a": {"value": 4}}}
    path = f"/agent/{agent}/workflow"
    refused = await site.call("POST", path, {"workflowDefinition": definition}, headers=headers)
    assert (refused.status, refused.body["code"]) == (403, "forbidden")
    assert (await site.call("GET", "/workflow/computed")).good["version"] == "1"
    named = await site.call("POST", path, {"workflowDefinitionId": "computed"}, headers=headers)
    assert named.status == 202


async def revoked(site: Site, scopes: list[str]) -> tuple[str, dict[str, str]]:
    made = (await site.call("POST", "/key", {"name": "r", "scopes": scopes})).good
    return made["keyId"], {"Authorization": f"Bearer {made['key']}"}


async def test_a_channel_ends_with_its_key(site: Site) -> None:
    agent = await site.agent("revoked-ws", "revoked-ws")
    key_id, headers = await revoked(site, ["agent:work"])
    url = f"{site.url}{BASE}/agent/{agent}/channel"
    async with aiohttp.ClientSession(headers=headers) as http, http.ws_connect(url) as socket:
        await socket.send_json({"type": "hello", "instanceId": "r", "maxInFlight": 1})
        assert (await socket.receive_json())["type"] == "welcome"
        await site.call("DELETE", f"/key/{key_id}")
        ended = await socket.receive()
        assert ended.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}


async def test_what_waits_ends_with_its_key(site: Site) -> None:
    agent = await site.agent("revoked-poll", "revoked-poll")
    key_id, headers = await revoked(site, ["agent:work"])
    body = {"instanceId": "r2", "max": 1, "waitSeconds": 60}
    async with asyncio.TaskGroup() as group:
        claim = site.call("POST", f"/agent/{agent}/claim", body, headers=headers)
        waiting = group.create_task(claim)
        while not site.application.context.waiting:  # noqa: ASYNC110 - it is about to
            await asyncio.sleep(0)
        await site.call("DELETE", f"/key/{key_id}")
        assert (await waiting).good == {"tasks": []}
