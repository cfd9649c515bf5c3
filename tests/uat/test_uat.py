"""The ten scenarios of docs/uat.md, against a real server and AgentKit's stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from examples.agentkit.fake import FakeAgent, FakeAgentKit
from opscore.api.settings import ServerSettings
from opscore.outgoing.addresses import LOOPBACK, Rules
from tests.api.conftest import KEY, Reply, Site, serving

SECRET = "shared-with-agentkit"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@dataclass
class Scene:
    site: Site
    kit: FakeAgentKit
    agent: FakeAgent

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.site.call(method, path, body, **options)

    async def trigger(self, payload: Any = None, agent_id: str | None = None) -> dict[str, Any]:
        """Start the adder's workflow as AgentKit does and wait for its end."""
        definition = {
            "id": "add",
            "name": "Add",
            "version": "1",
            "tasks": [
                {"taskId": "t1", "name": "add", "agentCapability": "add", "parameters": payload}
            ],
        }
        body = {"agentId": "ignored", "workflowDefinition": definition, "initialPayload": None}
        reply = await self.call(
            "POST",
            f"/agent/{agent_id or self.agent.agent_id}/workflow",
            body,
            headers={"prefer": "wait=10"},
        )
        return reply.good

    async def state(self) -> dict[str, Any]:
        return (await self.call("GET", f"/agent/{self.agent.agent_id}/state")).good


def add(given: dict[str, Any]) -> int:
    return given["a"] + given["b"]


@asynccontextmanager
async def scene(register: bool = True) -> AsyncGenerator[Scene]:
    kit = FakeAgentKit("", SECRET, KEY)
    await kit.start()
    settings = ServerSettings(
        api_key=KEY, webhook_secret=SECRET, agentkit_url=kit.url, stop_seconds=2
    )
    with structlog.testing.capture_logs():
        async with serving(settings, headers=HEADERS, rules=Rules(LOOPBACK)) as site:
            kit.opscore = site.url
            one = Scene(site, kit, FakeAgent("adder", ["add"], add))
            if register:
                assert await kit.register(one.agent) == 200
            try:
                yield one
            finally:
                await kit.stop()


async def test_01_an_agent_registers() -> None:
    async with scene() as s:
        found = (await s.call("GET", f"/agent/{s.agent.agent_id}")).good
        assert (found["agentName"], found["channel"], found["capabilities"]) == (
            "adder",
            "agentkit",
            ["add"],
        )
        assert (await s.state())["state"] == "unknown"


async def test_02_it_reports_its_state() -> None:
    async with scene() as s:
        for word, state in (
            ("initializing",) * 2,
            ("idle",) * 2,
            ("finished", "idle"),
            ("odd", "unknown"),
        ):
            assert await s.kit.report(s.agent, word) == 202
            told = await s.state()
            assert (told["state"], told["reportedState"]) == (state, word)


async def test_03_a_trigger_runs_through_it() -> None:
    async with scene() as s:
        answer = await s.trigger({"a": 1, "b": 2})
        assert (answer["status"], answer["workflowId"]) == ("completed", "add")
        (message,) = s.agent.heard
        assert message["payload"]["sessionId"] == answer["sessionId"]


async def test_04_many_tasks_one_at_a_time_in_spite_of_late_reports() -> None:
    async with scene() as s:
        answers = await asyncio.gather(*(s.trigger({"a": n, "b": n}) for n in range(10)))
        assert {a["status"] for a in answers} == {"completed"}
        ids = [m["payload"]["taskId"] for m in s.agent.heard]
        assert len(ids) == len(set(ids)) == 10


async def test_05_a_failure_is_retried_and_told() -> None:
    async with scene() as s:
        left = [2]

        def sulk(given: dict[str, Any]) -> int:
            left[0] -= 1
            if left[0] >= 0:
                raise ValueError("not yet")
            return add(given)

        s.agent.work = sulk
        steps = {
            "a": {"capability": "add", "with": {"a": 1, "b": 2}, "retry": {"initialDelay": "1ms"}}
        }
        await s.call("POST", "/workflow", {"name": "again", "version": "1", "steps": steps})
        reply = await s.call(
            "POST", "/session", {"workflow": "again"}, headers={"prefer": "wait=10"}
        )
        assert reply.good["status"] == "completed"
        assert [m["payload"]["attempt"] for m in s.agent.heard] == [1, 2, 3]


async def test_06_what_is_not_signed_well_is_refused() -> None:
    async with scene() as s:
        headers, body, _ = s.kit.sent[0]
        other = body.replace(b"adder", b"intruder")
        wrong = [
            ({"content-type": "application/json"}, other),
            (headers, other),
            (headers | {"X-AgentKit-Signature": "0" * 64}, other),
            (headers | {"X-AgentKit-Timestamp": "1700000000"}, body),
        ]
        for sent, content in wrong:
            assert await s.kit.post("/internal/agent/notify", content, sent) == 401
        assert (await s.call("GET", "/agent?q=intruder")).good["agents"] == []


async def test_07_duplicates_and_replays_change_nothing() -> None:
    async with scene() as s:
        headers, body, _ = s.kit.sent[0]
        assert await s.kit.post("/internal/agent/notify", body, headers) == 200
        assert await s.kit.notify("DEREGISTER", s.agent) == 200
        assert (await s.call("GET", f"/agent/{s.agent.agent_id}")).status == 404
        assert await s.kit.post("/internal/agent/notify", body, headers) == 200
        assert (await s.call("GET", f"/agent/{s.agent.agent_id}")).status == 404


async def test_08_agentkit_restarts_and_gives_new_ids() -> None:
    async with scene() as s:
        old = s.agent.agent_id
        await s.trigger({"a": 1, "b": 1})
        s.kit.forget()
        assert await s.kit.register(s.agent) == 200
        assert s.agent.agent_id != old
        agents = (await s.call("GET", "/agent")).good["agents"]
        assert [a["agentName"] for a in agents] == ["adder"]
        for agent_id in (old, s.agent.agent_id):
            assert (await s.trigger({"a": 2, "b": 2}, agent_id))["status"] == "completed"


async def test_09_a_lost_notice_is_made_good() -> None:
    async with scene(register=False) as s:
        assert await s.kit.register(s.agent, {"team": "x"}) == 0
        assert await s.kit.report(s.agent, "idle") == 202
        assert (await s.call("GET", f"/agent/{s.agent.agent_id}")).good[
            "agentName"
        ] == s.agent.agent_id
        assert await s.kit.notify("REGISTER", s.agent) == 200
        assert (await s.call("GET", f"/agent/{s.agent.agent_id}")).good["agentName"] == "adder"
        assert (await s.trigger({"a": 1, "b": 2}))["status"] == "completed"


async def test_10_agentkit_is_down() -> None:
    async with scene() as s:
        await s.kit.stop()
        steps = {"a": {"capability": "add", "retry": 1, "fallback": [{"value": "elsewhere"}]}}
        tree = {"name": "safe", "version": "1", "steps": steps, "output": "${{ steps.a.output }}"}
        await s.call("POST", "/workflow", tree)
        reply = await s.call(
            "POST", "/session", {"workflow": "safe"}, headers={"prefer": "wait=10"}
        )
        assert (reply.good["status"], reply.good["output"]) == ("completed", "elsewhere")
        sync = s.site.application.context.agentkit
        assert sync is not None
        await sync.refresh()
        ready = await s.call("GET", "/ready", root=True)
        assert (ready.status, ready.body["agentkit"]["reachable"]) == (200, False)
        await s.kit.start()
