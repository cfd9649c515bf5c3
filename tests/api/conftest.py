"""A real server on a free port over a real engine in memory, and a client for it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from opscore.api import server as server_module
from opscore.api.app import Application
from opscore.api.server import listen, serve
from opscore.api.settings import ServerSettings
from opscore.engine.engine import Engine
from opscore.engine.settings import Settings
from opscore.outgoing.addresses import Rules
from opscore.telemetry.otlp.target import Target

KEY = "a-key-for-tests-that-is-long-enough-0123"
BASE = "/v1/opscore"

ONE_STEP = {
    "name": "one-step",
    "version": "1",
    "steps": {"only": {"capability": "echo", "with": {"x": "${{ input.x }}"}}},
    "output": "${{ steps.only.output }}",
}
COMPUTED = {"name": "computed", "version": "1", "steps": {"sum": {"value": 3}}, "output": 3}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for all tests of a module, so that they can share its server."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@dataclass(frozen=True)
class Reply:
    """One response, read to its end."""

    status: int
    headers: Any
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def good(self) -> Any:
        """The body of a success."""
        assert self.status < 300, self.raw
        return self.body


@dataclass(frozen=True)
class Site:
    """A running server and a client session that carries its key."""

    url: str
    engine: Engine
    http: aiohttp.ClientSession
    server: asyncio.Task[None]
    application: Application

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        if body is not None:
            options["data"] = body if isinstance(body, bytes) else json.dumps(body)
            options["headers"] = {"content-type": "application/json"} | options.get("headers", {})
        root = options.pop("root", False) or path.startswith(BASE)
        full = path if root else BASE + path
        async with self.http.request(method, self.url + full, **options) as response:
            return Reply(response.status, response.headers, await response.read())

    def stream(self, agent_id: str) -> Any:
        return self.http.ws_connect(f"{self.url}{BASE}/agent/{agent_id}/channel")

    async def agent(self, name: str, capability: str = "echo") -> str:
        body = {"agentName": name, "capabilities": [capability], "maxInFlight": 4}
        reply = await self.call("POST", "/agent", body)
        assert reply.status in {200, 201}, reply.raw
        return reply.body["agentId"]

    async def claim(self, agent_id: str, **fields: Any) -> list[dict[str, Any]]:
        body = {"instanceId": f"{agent_id}-1", "max": 10} | fields
        reply = await self.call("POST", f"/agent/{agent_id}/claim", body)
        assert reply.status == 200, reply.raw
        return reply.body["tasks"]


@asynccontextmanager
async def serving(
    settings: ServerSettings,
    *,
    headers: dict[str, str] | None = None,
    rules: Rules | None = None,
    database: str = "sqlite:///:memory:",
    export: Target | None = None,
) -> AsyncGenerator[Site, None]:
    """Serve over a new engine until the block ends; then the stop must be graceful."""
    given = Settings(outgoing=rules or Rules(), export=export)
    engine = await Engine.open(database, settings=given)
    listener = listen("127.0.0.1", 0)
    up: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    made: list[Application] = []

    class Noted(Application):
        def __init__(self, *values: Any) -> None:
            super().__init__(*values)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_module, "Application", Noted)
        async with _serving(engine, settings, listener, up, headers) as (url, http, server):
            yield Site(url, engine, http, server, made[0])


@asynccontextmanager
async def _serving(
    engine: Engine,
    settings: ServerSettings,
    listener: socket.socket,
    up: asyncio.Future[str],
    headers: dict[str, str] | None,
) -> AsyncGenerator[tuple[str, aiohttp.ClientSession, asyncio.Task[None]], None]:
    async with asyncio.TaskGroup() as group:
        server = group.create_task(serve(engine, settings, listener, ready=up.set_result))
        url = await up
        async with aiohttp.ClientSession(headers=headers) as http:
            yield url, http, server
        server.cancel()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncGenerator[Site, None]:
    """A server with a key; the client sends it."""
    settings = ServerSettings(api_key=KEY, head_seconds=0.3, body_seconds=0.2, stop_seconds=2)
    async with serving(settings, headers={"Authorization": f"Bearer {KEY}"}) as one:
        await one.call("POST", "/workflow", ONE_STEP)
        await one.call("POST", "/workflow", COMPUTED)
        yield one
