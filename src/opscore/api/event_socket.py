"""`WS /event/ws`: the fleet-wide feed as one JSON message an event."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from opscore.api.answer import Receive, Send
from opscore.api.body import query_of
from opscore.api.call import Call
from opscore.api.context import Context
from opscore.api.event import (
    SLOW,
    STOPPING,
    deliver_all,
    encode,
    log,
    message,
    note_dropped,
    place_of,
)
from opscore.api.upgrade import POLICY_VIOLATION, refuse_upgrade
from opscore.channels.peer import to_peer
from opscore.core.errors import Refusal
from opscore.engine.records import EventRecord
from opscore.wire.event import FeedDropped, FeedEnded, Followed
from opscore.wire.queries import FollowEvents

PERMISSION = "session:read"
NORMAL, NOTHING_EXPECTED, GOING_AWAY, TRY_AGAIN_LATER = 1000, 1003, 1012, 1013


class EventSocket:
    """The ASGI application of the path: one connection, one follower."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Refuse the handshake, or follow until either side ends it."""
        await receive()  # websocket.connect
        send = to_peer(send)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace_id = self._context.trace_id_of(headers)
        try:
            principal = self._context.access.allow(scope, PERMISSION)
            call = Call(self._context, scope, receive, principal, headers, trace_id)
            query = query_of(scope["query_string"], FollowEvents)
            after = place_of(call, query)
            call.check_room()
        except Refusal as refusal:
            await refuse_upgrade(scope, send, refusal, trace_id)
            return
        with self._context.access.shares.connection(principal.key_id):
            try:
                await send({"type": "websocket.accept"})
                await self._follow(call, send, query, after)
            except* OSError as gone:
                log.debug("follower left", namespace=call.namespace, reason=str(gone.exceptions[0]))

    async def _follow(self, call: Call, send: Send, query: FollowEvents, after: int) -> None:
        async def deliver(event: EventRecord) -> None:
            await send({"type": "websocket.send", "text": message(event)})

        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(_heard(call.receive))
            self._context.waiting[leaving] = call.principal
            await send(_text(Followed(position=after)))
            telling = group.create_task(deliver_all(call, query, after, deliver))
            if self._context.stopping:
                leaving.cancel()
            await asyncio.wait({leaving, telling}, return_when=asyncio.FIRST_COMPLETED)
            self._context.waiting.pop(leaving, None)
            heard = None if leaving.cancelled() or not leaving.done() else leaving.result()
            leaving.cancel()
            telling.cancel()
        last = None if telling.cancelled() else telling.result()
        await self._end(call, send, heard, last)

    async def _end(
        self, call: Call, send: Send, heard: str | None, last: FeedDropped | FeedEnded | None
    ) -> None:
        if heard == "websocket.disconnect":
            return
        if heard is not None:
            await _close(send, NOTHING_EXPECTED, "nothing is expected from a follower")
        elif self._context.stopping:
            await _close(send, GOING_AWAY, STOPPING)
        elif last is None:
            await _close(send, POLICY_VIOLATION, "the key lets nobody in any more")
        elif isinstance(last, FeedEnded):
            await send(_text(last))
            await _close(send, NORMAL, "all is told")
        else:
            note_dropped(call, last.reason)
            if last.reason != SLOW:
                await send(_text(last))
            await _close(send, TRY_AGAIN_LATER, last.reason)


async def _heard(receive: Receive) -> str:
    return (await receive())["type"]


def _text(said: Followed | FeedDropped | FeedEnded) -> dict[str, Any]:
    return {"type": "websocket.send", "text": encode(said).decode()}


async def _close(send: Send, code: int, reason: str) -> None:
    await send({"type": "websocket.close", "code": code, "reason": reason})
