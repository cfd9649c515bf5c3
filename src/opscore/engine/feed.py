"""The journal's tail, live: commits in, events to whoever follows.

Positions number the events of a store in one order: within a commit those of sessions, then those
of agents.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from opscore.engine.journal import public
from opscore.engine.records import EventRecord
from opscore.engine.unit import Unit
from opscore.store.happened import Happened
from opscore.store.rows import StoredEvent

FOLLOWERS_LIMIT = 10_000
READ_AT_ONCE = 1_000
"""Positions."""


class Subscription:
    """An async iterator of events; ends when closed, or with `dropped` set when it was too slow."""

    def __init__(
        self,
        limit: int,
        leave: Callable[[Subscription], None],
        dropped: Callable[[], None],
        wanted: Callable[[Happened], bool] = lambda _: True,
    ) -> None:
        self._events: deque[EventRecord] = deque()
        self._limit = limit
        self._leave = leave
        self._was_dropped = dropped
        self._arrived = asyncio.Event()
        self._closed = False
        self.wanted = wanted
        self.dropped: str | None = None

    def offer(self, event: EventRecord) -> None:
        """Queue an event; a follower that is too far behind is let go, never waited for."""
        if len(self._events) >= self._limit:
            self.dropped = f"more than {self._limit} events behind"
            self._was_dropped()
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
    """Who follows what: one session, or all that happens in a namespace."""

    def __init__(self) -> None:
        self.position = 0
        """Of the newest event that followers were told."""
        self._until = 0
        self._more = asyncio.Event()
        self.drops = 0
        """How many followers were too slow, so far."""
        self._of_session: dict[str, list[Subscription]] = {}
        self._of_namespace: dict[str, list[Subscription]] = {}
        self._namespace_of: dict[str, str] = {}

    def begin(self, position: int) -> None:
        """The events up to there are no news."""
        self.position = self._until = position

    def subscribe(
        self,
        *,
        session_id: str | None = None,
        namespace: str = "default",
        wanted: Callable[[Happened], bool] = lambda _: True,
        limit: int = FOLLOWERS_LIMIT,
    ) -> Subscription:
        """Follow from the next commit on. The caller closes the subscription.

        With `session_id`, the events of that session of the namespace; else the namespace's events,
        of its agents too, that are `wanted`.
        """
        if session_id is not None:
            where, key = self._of_session, session_id
            self._namespace_of[session_id] = namespace
        else:
            where, key = self._of_namespace, namespace

        def leave(subscription: Subscription) -> None:
            followers = where.get(key, [])
            if subscription in followers:
                followers.remove(subscription)
            if not followers:
                where.pop(key, None)
                if where is self._of_session:
                    self._namespace_of.pop(key, None)

        subscription = Subscription(limit, leave, self._dropped, wanted)
        where.setdefault(key, []).append(subscription)
        return subscription

    def _dropped(self) -> None:
        self.drops += 1

    @property
    def followers(self) -> int:
        """How many follow now."""
        places = (*self._of_session.values(), *self._of_namespace.values())
        return sum(len(followers) for followers in places)

    def published(self, unit: Unit, first_position: int) -> None:
        """Pass on the events of a commit."""
        events, of_agents = unit.changes.events, unit.changes.agent_events
        agents_first = first_position + len(events)
        last = agents_first + len(of_agents) - 1
        if self.position < self._until:
            # Events of others are being read, and come first.
            self._until = last
            return
        self.position = self._until = last
        if not self._of_session and not self._of_namespace:
            return
        for position, event in enumerate(events, first_position):
            self._tell_of_session(unit, StoredEvent(position, *event))
        for position, row in enumerate(of_agents, agents_first):
            if followers := self._of_namespace.get(row.namespace):
                happened = Happened(position, *row[1:], True, None, row.agent_id, None, None)
                _offer(followers, happened)

    def _tell_of_session(self, unit: Unit, event: StoredEvent) -> None:
        state = unit.touched[event.owner]
        if followers := self._of_session.get(event.owner):
            record = public(event)
            for follower in list(followers):
                follower.offer(record)
        if followers := self._of_namespace.get(state.namespace):
            task = state.tasks.get(_named(event.data).task_id)
            happened = Happened(
                *event,
                False,
                state.workflow,
                state.agent_id,
                None if task is None else task.agent_id,
                None if task is None else task.capability,
            )
            _offer(followers, happened)

    def followed(self, last: int) -> None:
        """Another server has committed events up to that position."""
        if last <= self._until:
            return
        if self.position == self._until and not self.followers:
            self.position = last
        self._until = last
        self._more.set()

    @property
    def committed(self) -> int:
        """The position of the newest event that this server has heard of."""
        return self._until

    async def tell_others(
        self, read: Callable[[str, int, int], Awaitable[Sequence[Happened]]]
    ) -> None:
        """Wait for commits of others and pass them on; returns then.

        `read` gives a namespace's events between two positions. What it raises passes on, and
        nothing is lost: the next call goes on there.
        """
        while self.position == self._until:
            self._more.clear()
            await self._more.wait()
        until = min(self.position + READ_AT_ONCE, self._until)
        followed = {*self._of_namespace, *self._namespace_of.values()}
        events = {each: await read(each, self.position, until) for each in followed}
        self.position = until
        for namespace, happened in events.items():
            self._tell(namespace, happened)

    def _tell(self, namespace: str, events: Sequence[Happened]) -> None:
        for happened in events:
            if followers := self._of_namespace.get(namespace):
                _offer(followers, happened)
            if not happened.of_agent and (followers := self._of_session.get(happened.owner)):
                _offer(followers, happened)

    def close(self) -> None:
        """The server stops: every follower ends."""
        for where in (self._of_session, self._of_namespace):
            for followers in list(where.values()):
                for follower in list(followers):
                    follower.close()


class _Names(msgspec.Struct):
    """What an event may name."""

    task_id: str = ""


_named = msgspec.json.Decoder(_Names).decode


def _offer(followers: Sequence[Subscription], happened: Happened) -> None:
    wanting = [follower for follower in followers if follower.wanted(happened)]
    if wanting:
        record = record_of(happened)
        for follower in wanting:
            follower.offer(record)


def record_of(happened: Happened) -> EventRecord:
    """An event as people read it."""
    return public(StoredEvent(*happened[:7]), of_agent=bool(happened.of_agent))
