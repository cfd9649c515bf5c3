"""A stand-in for AgentKit and its agents, with the wire behaviour of the real program.

Its registration notice is sent once, and lost when the agent has metadata. Its relay answers 202
and loses every message that is not a tool invocation. Its agents report `active` and `idle` two to
four milliseconds after the reply to the task that they are about. After `forget` it gives new ids.

    python examples/agentkit/fake.py --opscore http://127.0.0.1:8700
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web

API = "/v1/opscore"
RACE_SECONDS = 0.003

Work = Callable[[dict[str, Any]], Any]


@dataclass
class FakeAgent:
    """An agent of AgentKit's SDK: an endpoint for tasks, and reports of its state."""

    name: str
    capabilities: list[str]
    work: Work
    agent_id: str = ""
    heard: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class FakeAgentKit:
    """AgentKit with its agents, on one port."""

    def __init__(
        self, opscore: str, secret: str = "", key: str = "", work_seconds: float = 0.0
    ) -> None:
        self.opscore = opscore.rstrip("/")
        self.url = ""
        self.sent: list[tuple[dict[str, str], bytes, int]] = []
        self._secret = secret
        self._key = key
        self._work_seconds = work_seconds
        self._agents: dict[str, FakeAgent] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listen on loopback."""
        app = web.Application()
        app.router.add_post("/v1/agents/{agent_id}/run", self._relay)
        app.router.add_post("/agent/{name}", self._task)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._http = aiohttp.ClientSession()

    async def stop(self) -> None:
        """Stop listening, when the last report is out."""
        await asyncio.gather(*self._tasks)
        if self._http is not None:
            await self._http.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # -- registration -----------------------------------------------------------------------

    async def register(self, agent: FakeAgent, metadata: dict[str, Any] | None = None) -> int:
        """Register an agent; the status of the notice, 0 when it was lost."""
        agent.agent_id = str(uuid.uuid4())
        self._agents[agent.agent_id] = agent
        if metadata:
            return 0
        return await self.notify("REGISTER", agent)

    async def notify(self, event: str, agent: FakeAgent) -> int:
        """Send a notice, signed when there is a secret."""
        details = {
            "agentId": agent.agent_id,
            "agentName": agent.name,
            "version": "1.0.0",
            "capabilities": agent.capabilities,
            "contactEndpoint": f"{self.url}/agent/{agent.name}",
            "metadata": None,
            "registration_time": datetime.now(UTC).isoformat(),
        }
        body = json.dumps({"event_type": event, "agent_details": details}).encode()
        headers = {"content-type": "application/json"}
        if self._secret:
            stamp = str(int(time.time()))
            signed = stamp.encode() + b"." + body
            mac = hmac.new(self._secret.encode(), signed, hashlib.sha256).hexdigest()
            headers |= {"X-AgentKit-Timestamp": stamp, "X-AgentKit-Signature": mac}
        status = await self.post("/internal/agent/notify", body, headers)
        self.sent.append((headers, body, status))
        return status

    def forget(self) -> None:
        """What a restart does."""
        self._agents.clear()

    # -- reports ----------------------------------------------------------------------------

    async def report(self, agent: FakeAgent, state: str, details: Any = None) -> int:
        """Report an agent's state as its SDK does."""
        body: dict[str, Any] = {
            "agentId": agent.agent_id,
            "timestamp": datetime.now(UTC).isoformat(),
            "state": state,
            "details": details or {},
        }
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._key}"}
        path = f"/agent/{agent.agent_id}/state"
        return await self.post(path, json.dumps(body).encode(), headers)

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Send anything to Ops-Core; the status, 0 when nobody is there. It is never sent again."""
        assert self._http is not None
        url = f"{self.opscore}{API}{path}"
        try:
            async with self._http.post(url, data=body, headers=headers) as response:
                return response.status
        except aiohttp.ClientError:
            return 0

    # -- messages ---------------------------------------------------------------------------

    async def _relay(self, request: web.Request) -> web.Response:
        agent = self._agents.get(request.match_info["agent_id"])
        if agent is None:
            return web.json_response({"detail": "Agent not found"}, status=404)
        message = await request.json()
        if message["messageType"] != "tool_invocation":
            return web.json_response({"status": "accepted"}, status=202)
        agent.heard.append(message)
        try:
            result = agent.work(message["payload"]["arguments"])
        except Exception as error:  # noqa: BLE001 - the real one answers this too
            return web.json_response({"status": "error", "message": str(error)}, status=202)
        return web.json_response({"status": "success", "result": result}, status=202)

    async def _task(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        agent = next((a for a in self._agents.values() if a.name == name), None)
        if agent is None:
            return web.json_response({"detail": "Agent not found"}, status=404)
        message = await request.json()
        agent.heard.append(message)
        if message["messageType"] != "workflow_task":
            return web.json_response({"status": "ignored"})
        try:
            await asyncio.sleep(self._work_seconds)
            result = agent.work(message["payload"]["parameters"])
        except Exception as error:  # noqa: BLE001 - the real one answers this too
            return web.json_response({"detail": str(error)}, status=500)
        finally:
            task = asyncio.get_running_loop().create_task(self._late(agent))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.json_response({"status": "completed", "result": result})

    async def _late(self, agent: FakeAgent) -> None:
        """The race: what is reported about a task comes after its reply."""
        for state in ("active", "idle"):
            await asyncio.sleep(RACE_SECONDS)
            await self.report(agent, state)


async def _main(options: argparse.Namespace) -> None:
    kit = FakeAgentKit(options.opscore, options.secret, options.key, options.seconds)
    await kit.start(options.port)
    print(f"AgentKit's stand-in at {kit.url}; stop with Ctrl-C", flush=True)
    for name, capability in (("tester", "test_capability"), ("other", "another_capability")):
        agent = FakeAgent(name, [capability], lambda given: {"echo": given})
        status = await kit.register(agent)
        print(f"registered {name} for {capability} as {agent.agent_id}: {status}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A stand-in for AgentKit and its agents.")
    parser.add_argument("--opscore", default="http://127.0.0.1:8700")
    parser.add_argument("--secret", default="", help="as OPSCORE_WEBHOOK_SECRET")
    parser.add_argument("--key", default="", help="a key with agent:report")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long a task takes")
    parser.add_argument("--port", type=int, default=8001)
    try:
        asyncio.run(_main(parser.parse_args()))
    except KeyboardInterrupt:
        print("stopped")
