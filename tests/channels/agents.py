"""Agents with an endpoint, for tests: they answer as they are told and remember what came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from opscore.channels.agentkit import AgentKit
from opscore.channels.called import PushChannels
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.records import AgentRecord
from opscore.outgoing.addresses import LOOPBACK, Rules
from tests.engine.whole import Whole, until, whole

Said = web.StreamResponse | Awaitable[web.StreamResponse]


@dataclass
class Heard:
    """One request."""

    headers: dict[str, str]
    raw: bytes
    closing: asyncio.Event

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)


@dataclass
class Endpoint:
    """A listener; `says` makes each answer."""

    says: Callable[[Heard], Said]
    url: str = ""
    heard: list[Heard] = field(default_factory=list[Heard])
    paths: list[str] = field(default_factory=list[str])
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    close: Callable[[], Awaitable[None]] = field(init=False)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        one = Heard(headers, await request.read(), self.closing)
        self.heard.append(one)
        self.paths.append(request.path)
        said = self.says(one)
        return said if isinstance(said, web.StreamResponse) else await said

    async def got(self, count: int) -> list[Heard]:
        await until(lambda: len(self.heard) >= count)
        return self.heard


@asynccontextmanager
async def endpoint(says: Callable[[Heard], Said]) -> AsyncGenerator[Endpoint]:
    one = Endpoint(says)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", one.answer)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.close = runner.cleanup
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/agent"
    try:
        yield one
    finally:
        one.closing.set()
        await runner.cleanup()


@dataclass
class Push:
    """An engine whose push channels are open."""

    whole: Whole
    channels: PushChannels

    async def agent(self, url: str | None, name: str = "pushed", **more: Any) -> AgentRecord:
        details: dict[str, Any] = {"channel": "http", "capabilities": ("work",), **more}
        return await self.whole.engine.lifecycle.register_agent(
            AgentDetails(name, contact_endpoint=url, **details)
        )

    async def seated(self, agent: AgentRecord) -> None:
        await until(lambda: self.slots(agent) is not None)

    def slots(self, agent: AgentRecord) -> int | None:
        seat = self.whole.engine._dispatcher.seat(f"push:{agent.agent_id}")  # pyright: ignore[reportPrivateUsage]
        return None if seat is None else seat.free


@asynccontextmanager
async def pushing(
    url: str = "sqlite:///:memory:", agentkit: str | None = None, **settings: Any
) -> AsyncGenerator[Push]:
    rules = settings.pop("rules", Rules(LOOPBACK))
    async with whole(url, outgoing=rules, **settings) as w:
        kit = None if agentkit is None else AgentKit(agentkit, w.engine.outgoing)
        channels = PushChannels(w.engine, kit)
        channels.open()
        try:
            yield Push(w, channels)
        finally:
            await channels.close(0)


def done(output: Any = 1) -> Callable[[Heard], Said]:
    return lambda _: web.json_response(output)


async def hang(heard: Heard) -> web.StreamResponse:
    """No answer until the listener closes."""
    await heard.closing.wait()
    return web.Response(status=500)
