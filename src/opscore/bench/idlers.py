"""A client process that holds many agents' WebSockets: hello, then a heartbeat now and then."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import msgspec

from opscore.api.loop import run_on_loop
from opscore.bench.children import answer
from opscore.wire import stream as wire
from opscore.wire.agent import RegisterAgent

BASE = "/v1/opscore"
CONNECTING_AT_ONCE = 50
_encode = msgspec.json.Encoder().encode
_welcome = msgspec.json.Decoder(wire.Welcome).decode


class Idlers:
    """Agents that wait for work that never comes; each has one instance with one connection."""

    def __init__(self, url: str, session: aiohttp.ClientSession, group: asyncio.TaskGroup) -> None:
        self._base = url + BASE
        self._session = session
        self._group = group
        self._places = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self._idling: list[asyncio.Task[None]] = []
        self._connected = 0
        self._beats = 0

    async def connect(self, count: int) -> int:
        """Connect so many agents; how many were welcomed."""
        welcomed = [asyncio.Event() for _ in range(count)]
        for number, event in enumerate(welcomed):
            self._idling.append(self._group.create_task(self._idle(number, event)))
        for event in welcomed:
            await event.wait()
        return self._connected

    async def counts(self) -> dict[str, int]:
        """How many are connected now, and how many heartbeats they have sent."""
        return {"connected": self._connected, "heartbeats": self._beats}

    def leave(self) -> None:
        """Hang up."""
        for task in self._idling:
            task.cancel()

    async def _idle(self, number: int, welcomed: asyncio.Event) -> None:
        async with self._places:
            body = _encode(RegisterAgent(agent_name=f"idler-{number}", capabilities=["wait"]))
            head = {"content-type": "application/json"}
            async with self._session.post(f"{self._base}/agent", data=body, headers=head) as answer:
                answer.raise_for_status()
                agent_id: str = (await answer.json())["agentId"]
            socket = await self._session.ws_connect(f"{self._base}/agent/{agent_id}/channel")
            await self._send(socket, wire.Hello(instance_id=f"idler-{number}"))
            welcome = _welcome(await socket.receive_str())
        self._connected += 1
        welcomed.set()
        try:
            await self._beat(socket, welcome.heartbeat_seconds)
        finally:
            self._connected -= 1
            await socket.close()

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse, seconds: float) -> None:
        """Heartbeats, and pongs (by the library, while it reads), until the connection ends."""
        while not socket.closed:
            try:
                await socket.receive(timeout=seconds)
            except TimeoutError:
                await self._send(socket, wire.Heartbeat())
                self._beats += 1

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, message: wire.FromAgent) -> None:
        await socket.send_str(_encode(message).decode())


async def main(url: str, key: str) -> None:
    """Answer until the input ends."""
    session = aiohttp.ClientSession(
        headers={"authorization": f"Bearer {key}"}, connector=aiohttp.TCPConnector(limit=0)
    )
    async with session, asyncio.TaskGroup() as group:
        idlers = Idlers(url, session, group)
        await answer({"connect": idlers.connect, "counts": idlers.counts})
        idlers.leave()


if __name__ == "__main__":
    run_on_loop(main(*sys.argv[1:3]))
