"""The journal's tail, live: commits in, events to whoever follows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from opscore.engine.journal import public
from opscore.engine.records import EventRecord
from opscore.engine.unit import Unit
from opscore.store.rows import StoredEvent

FOLLOWERS_LIMIT = 10_000


class Subscription:
    """An async iterator of events; ends when closed, or with `dropped` set when it was too slow."""

    def __init__(self, limit: int, leave: Callable[[Subscription], None]) -> None:
        self._events: deque[EventRecord] = deque()
        self._limit = limit
        self._leave = leave
        self._arrived = asyncio.Event()
        self._closed = False
        self.dropped: str | None = None

    def offer(self, event: EventRecord) -> None:
        """Queue an event; a follower that is too far behind is let go, never waited for."""
        if len(self._events) >= self._limit:
            self.dropped = f"more than {self._limit} events behind"
            self.close()
            return
        self._events.append(event)
        self._arrived.set()

    def close(self) -> None:
        """Follow no longer. What was queued can still be read. Idempotent."""
        self._closed = True
        self._leave(self)
        self._arrived.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> EventRecord:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()


class Feed:
    """Who follows what: one session, or all sessions of a namespace."""

    def __init__(self) -> None:
        self._of_session: dict[str, list[Subscription]] = {}
        self._of_namespace: dict[str, list[Subscription]] = {}

    def subscribe(
        self,
        *,
        session_id: str | None = None,
        namespace: str = "default",
        limit: int = FOLLOWERS_LIMIT,
    ) -> Subscription:
        """Follow from the next commit on. The caller closes the subscription."""
        if session_id is not None:
            where, key = self._of_session, session_id
        else:
            where, key = self._of_namespace, namespace

        def leave(subscription: Subscription) -> None:
            followers = where.get(key, [])
            if subscription in followers:
                followers.remove(subscription)
            if not followers:
                where.pop(key, None)

        subscription = Subscription(limit, leave)
        where.setdefault(key, []).append(subscription)
        return subscription

    def published(self, unit: Unit, first_position: int) -> None:
        """Pass on the events of a commit."""
        if not self._of_session and not self._of_namespace:
            return
        for position, event in enumerate(unit.changes.events, first_position):
            followers = self._followers(unit, event.session_id)
            if followers:
                record = public(StoredEvent(position, *event))
                for follower in followers:
                    follower.offer(record)

    def _followers(self, unit: Unit, session_id: str) -> Sequence[Subscription]:
        namespace = unit.touched[session_id].namespace
        return [
            *self._of_session.get(session_id, ()),
            *self._of_namespace.get(namespace, ()),
        ]

    def close(self) -> None:
        """The server stops: every follower ends."""
        for where in (self._of_session, self._of_namespace):
            for followers in list(where.values()):
                for follower in list(followers):
                    follower.close()
