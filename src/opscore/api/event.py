"""The fleet-wide feed: `GET /event` as server-sent events, `WS /event/ws` as JSON messages.

Format of the former: https://html.spec.whatwg.org/multipage/server-sent-events.html. An event's id
is its position, by which a follower goes on, also over a restart of the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import msgspec
import structlog

from opscore.api.answer import Send
from opscore.api.body import ClientGone
from opscore.api.call import Call
from opscore.api.live import HEADERS, KEEP_ALIVE_SECONDS, frame
from opscore.api.route import Reply, Routes
from opscore.api.views import event_view
from opscore.core.errors import Invalid
from opscore.engine.following import FellBehind, Wanted
from opscore.engine.records import EventRecord
from opscore.wire.event import FeedDropped, FeedEnded
from opscore.wire.queries import FollowEvents

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("opscore.feed")

SLOW_SECONDS = 30.0
"""How long one message may wait until the follower reads."""
STOPPING = "the server is stopping"
SLOW = f"nothing was read for {SLOW_SECONDS:g} seconds"

routes = Routes("event")
encode = msgspec.json.Encoder().encode
Deliver = Callable[[EventRecord], Awaitable[None]]


@routes.query("/event", "session:read", FollowEvents, {200: str})
async def follow_events(call: Call, query: FollowEvents) -> Reply:
    """Follow all that happens (SSE), from `Last-Event-ID` on; filters narrow it."""
    call.check_room()
    return EventStream(call, query, place_of(call, query))


def wanted_of(query: FollowEvents) -> Wanted:
    """The filters of a request."""
    types = (query.type or "").split(",") if query.type is not None else []
    return Wanted(
        session_id=query.session,
        agent=query.agent,
        workflow=query.workflow,
        types=tuple(word.strip() for word in types if word.strip()),
        capability=query.capability,
    )


def place_of(call: Call, query: FollowEvents) -> int:
    """After which event to begin. A header goes before the query: a reconnecting browser sends it.

    Raises `Invalid`.
    """
    last = call.header(b"last-event-id")
    if last is None:
        return call.engine.following.start(query.after)
    if not last.isascii() or not last.isdigit() or len(last) > 18:
        raise Invalid("Last-Event-ID must be the id of an event of this feed: a number.")
    return call.engine.following.start(int(last))


async def deliver_all(
    call: Call, query: FollowEvents, after: int, deliver: Deliver
) -> FeedDropped | FeedEnded:
    """Give every event to `deliver`: all that happened, or until the server stops.

    Answers the last word to the follower. The engine never waits for one: what it was too slow for
    waits in a bounded queue, and then no more.
    """
    following, wanted = call.engine.following, wanted_of(query)
    end = following.newest
    events = (
        following.events(wanted, call.namespace, after)
        if query.follow
        else following.told(wanted, call.namespace, after, end)
    )
    try:
        async with aclosing(events):
            async for event in events:
                async with asyncio.timeout(SLOW_SECONDS):
                    await deliver(event)
    except FellBehind as behind:
        return FeedDropped(reason=str(behind))
    except TimeoutError:
        return FeedDropped(reason=SLOW)
    return FeedDropped(reason=STOPPING) if query.follow else FeedEnded(position=end)


def note_dropped(call: Call, reason: str) -> None:
    """Log that a follower was let go."""
    log.warning("follower let go", namespace=call.namespace, reason=reason)


class EventStream:
    """One follower by server-sent events."""

    def __init__(self, call: Call, query: FollowEvents, after: int) -> None:
        self._call = call
        self._query = query
        self._after = after

    async def send(self, send: Send) -> None:
        """Stream until the client leaves, falls behind, or the server stops."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        # Whoever goes away before the first event still knows where to go on.
        await send(_part(b"id: %d\n\n" % self._after))
        last, asked = None, self._call.scope["method"] == "GET"
        if asked and not self._call.context.stopping:
            last = await self._call.while_present(self._follow(send))
        if last is not None:
            await self._take_leave(send, last)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, send: Send) -> FeedDropped | FeedEnded:
        async def deliver(event: EventRecord) -> None:
            await send(_part(frame(event, event.position)))

        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self._keep_alive(send))
            try:
                return await deliver_all(self._call, self._query, self._after, deliver)
            finally:
                beating.cancel()

    async def _keep_alive(self, send: Send) -> None:
        while True:
            await self._call.context.clock.sleep(KEEP_ALIVE_SECONDS)
            await send(_part(b":\n\n"))

    async def _take_leave(self, send: Send, last: FeedDropped | FeedEnded) -> None:
        kind = b"ended"
        if isinstance(last, FeedDropped):
            kind = b"dropped"
            note_dropped(self._call, last.reason)
            if last.reason == SLOW:
                raise ClientGone  # nothing more goes through: the connection is closed
        await send(_part(b"event: %b\ndata: %b\n\n" % (kind, encode(last))))


def _part(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def message(event: EventRecord) -> str:
    """An event as a WebSocket carries it."""
    return encode(event_view(event)).decode()
