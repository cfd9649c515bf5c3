"""The `stream` channel: an instance's WebSocket (`WS /agent/{agentId}/channel`).

The messages are in `wire/stream.py`. One connection costs one coroutine; writing happens in a task
that lives only while there is something to write, and everything that queued meanwhile leaves as
few messages. What waits to be written is bounded: attempts by the instance's slots, verdicts by
the settlements in flight, and a peer that does not read is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import structlog

from opscore.channels.instance import Dropped, InstanceStream, Terms
from opscore.channels.peer import Receive, Send, to_peer
from opscore.core.access import Principal
from opscore.core.errors import Refusal
from opscore.core.types import SECOND

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("opscore.stream")


SLOW_SECONDS = 30.0


class StreamChannel:
    """All WebSocket connections of one server.

    `authorise` takes an ASGI scope and gives who may act as the agent, or raises a `Refusal`, which
    `refuse` answers. `hold` takes the key's id and counts its connection for as long as it lasts, or
    raises a `Refusal`.
    """

    def __init__(
        self,
        terms: Terms,
        authorise: Callable[[Mapping[str, Any]], Principal],
        refuse: Callable[[Mapping[str, Any], Send, Refusal], Awaitable[None]],
        hold: Callable[[str | None], AbstractContextManager[None]],
    ) -> None:
        self._terms = terms
        self._authorise = authorise
        self._refuse = refuse
        self._hold = hold
        self._stopping = False
        self._empty = asyncio.Event()
        self._empty.set()
        self.streams: set[InstanceStream] = set()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """The ASGI application for one connection."""
        await receive()  # websocket.connect
        send = to_peer(send)
        with ExitStack() as held:
            try:
                principal = self._authorise(scope)
                held.enter_context(self._hold(principal.key_id))
            except Refusal as refusal:
                await self._refuse(scope, send, refusal)
                return
            if self._stopping:
                await send({"type": "websocket.close", "code": 1012})
                return
            await send({"type": "websocket.accept"})
            agent_id: str = scope["path_params"]["agentId"]
            stream = InstanceStream(self._terms, agent_id, principal, receive=receive, send=send)
            await self._run(stream)

    async def _run(self, stream: InstanceStream) -> None:
        self.streams.add(stream)
        self._empty.clear()
        try:
            await stream.run()
        except* Dropped as dropped:
            reason = str(dropped.exceptions[0])
            log.warning("connection dropped", agent_id=stream.agent_id, reason=reason)
        except* Exception as crashed:  # noqa: BLE001 - logged by `describe`
            self._terms.describe(crashed.exceptions[0])
            await stream.abandon()
        finally:
            self.streams.discard(stream)
            if not self.streams:
                self._empty.set()

    async def sweep(self) -> None:
        """Drop every peer that said nothing for too long, or does not read what it is sent."""
        now, silence = self._terms.now(), self._terms.silence_seconds
        for stream in list(self.streams):
            writing = stream.writing_since
            if now - stream.heard_at > silence * SECOND:
                stream.drop(f"nothing was heard for {silence:g} seconds")
            elif writing is not None and now - writing > SLOW_SECONDS * SECOND:
                stream.drop(f"nothing was read for {SLOW_SECONDS:g} seconds")

    def drop_without(self, lives: Callable[[str], bool]) -> None:
        """Drop every peer that came with a key that does not count any more."""
        for stream in list(self.streams):
            if stream.key_id is not None and not lives(stream.key_id):
                stream.drop("its key does not count any more")

    async def stop(self, seconds: float) -> None:
        """Tell every instance that the server goes away; wait for settlements in flight."""
        self._stopping = True
        for stream in list(self.streams):
            stream.end(1012, "the server is stopping")
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            for stream in list(self.streams):
                stream.drop("the server stopped")
