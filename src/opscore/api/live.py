"""`GET /session/{id}/stream`: a session's journal as server-sent events.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html; an event's id is its `seq`,
its name the event type, its data the event as `GET …/history` shows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from opscore.api.answer import Send
from opscore.api.call import Call
from opscore.api.views import event_view
from opscore.core.events import SessionCancelled, SessionCompleted, SessionFailed, SessionRetried
from opscore.core.types import SESSION_ENDED
from opscore.engine.records import EventRecord

if TYPE_CHECKING:
    from opscore.engine.feed import Subscription

ENDS = frozenset({SessionCompleted.TYPE, SessionFailed.TYPE, SessionCancelled.TYPE})
PAGE = 500
KEEP_ALIVE_SECONDS = 15.0
HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_encode = msgspec.json.Encoder().encode


class SessionStream:
    """History after `last_seen`, then the live feed, until the session has ended."""

    def __init__(self, call: Call, session_id: str, last_seen: int) -> None:
        self._call = call
        self._session_id = session_id
        self._seq = last_seen
        self._ended = False

    async def send(self, send: Send) -> None:
        """Stream until the session ends, the client leaves, or the server stops."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        if not self._call.context.stopping:
            await self._call.while_present(self._events(send))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self, send: Send) -> None:
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self._keep_alive(send))
            try:
                while not self._ended:
                    await self._follow(send)
            finally:
                beating.cancel()

    async def _keep_alive(self, send: Send) -> None:
        # Proxies drop quiet connections; a comment line is ignored by clients.
        while True:
            await self._call.context.clock.sleep(KEEP_ALIVE_SECONDS)
            await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})

    async def _follow(self, send: Send) -> None:
        """One subscription's life. It ends early when it overflows; the journal fills the gap."""
        # Subscribed before the history is read, so that nothing falls between the two.
        subscription = self._call.engine.feed.subscribe(
            session_id=self._session_id, namespace=self._call.namespace
        )
        try:
            session = await self._call.engine.orchestration.get_session(
                self._session_id, namespace=self._call.namespace
            )
            self._ended = session.status in SESSION_ENDED
            await self._history(send)
            if not self._ended:
                await self._feed(subscription, send)
        finally:
            subscription.close()

    async def _history(self, send: Send) -> None:
        """What is in the journal after the last event seen; a cursor is a sequence number."""
        cursor: str | None = str(self._seq)
        while cursor is not None:
            page = await self._call.engine.orchestration.history(
                self._session_id, cursor=cursor, limit=PAGE, namespace=self._call.namespace
            )
            await self._write(page.items, send)
            cursor = page.next_cursor

    async def _feed(self, subscription: Subscription, send: Send) -> None:
        async for event in subscription:
            await self._write([event], send)
            if self._ended:
                return

    async def _write(self, events: Sequence[EventRecord], send: Send) -> None:
        for event in events:
            if event.type in ENDS:
                self._ended = True
            elif event.type == SessionRetried.TYPE:
                self._ended = False
        fresh = [event for event in events if event.seq > self._seq]
        if fresh:
            self._seq = fresh[-1].seq
            body = b"".join([frame(event, event.seq) for event in fresh])
            await send({"type": "http.response.body", "body": body, "more_body": True})


def frame(event: EventRecord, identity: int) -> bytes:
    """One event on the wire. JSON in one line, so one `data` field carries it."""
    data = _encode(event_view(event)).replace(b"\n", b" ").replace(b"\r", b" ")
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (identity, event.type.encode(), data)
