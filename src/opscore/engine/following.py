"""All that happens in a namespace, from any place in the journal on, and then live."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from opscore.core.errors import Invalid, OpsCoreError
from opscore.engine.feed import FOLLOWERS_LIMIT, Feed, record_of
from opscore.engine.records import EventRecord
from opscore.store.happened import Happened
from opscore.store.store import Store

WINDOW = 1_000
"""Positions that are read at once: a rare event must not hold the reading thread for long."""


class FellBehind(OpsCoreError):
    """A follower read more slowly than things happened, and was let go. It may come again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events somebody follows; what is None or empty does not matter.

    `agent`: the agent's own events, those of sessions bound to it, and those of tasks that it has
    or had last. `types`: event types (`task.failed`) or their first words (`task`).
    """

    session_id: str | None = None
    agent: str | None = None
    workflow: str | None = None
    types: tuple[str, ...] = ()
    capability: str | None = None

    def fits(self, happened: Happened) -> bool:
        """Whether an event is one of these."""
        kind = happened.type
        return (
            (not self.types or any(kind == t or kind.startswith(f"{t}.") for t in self.types))
            and self.workflow in (None, happened.workflow)
            and self.capability in (None, happened.capability)
            and self.agent in (None, happened.agent_id, happened.worker)
            and (self.session_id is None or self._is_of_session(happened))
        )

    def _is_of_session(self, happened: Happened) -> bool:
        return not happened.of_agent and happened.owner == self.session_id


class Following:
    """The one way to follow a namespace. Call `preload` before the first commit."""

    def __init__(self, store: Store, feed: Feed) -> None:
        self._store = store
        self._feed = feed

    async def preload(self) -> None:
        """Learn where the journal ends."""
        self._feed.begin(await self._store.last_position())

    def start(self, after: int | None) -> int:
        """The place to follow from: after that event, or after the newest.

        Raises Invalid for a place that is not reached yet: it is another store's.
        """
        now = self._feed.committed
        if after is not None and not 0 <= after <= now:
            raise Invalid(
                f"there is no event {after} yet, the newest is {now}; was the store replaced?",
                code="unknown_position",
            )
        return self.newest if after is None else after

    @property
    def newest(self) -> int:
        """The position of the newest event that followers were told."""
        return self._feed.position

    async def events(
        self, wanted: Wanted, namespace: str, after: int, *, limit: int = FOLLOWERS_LIMIT
    ) -> AsyncGenerator[EventRecord, None]:
        """Every event after that place, once and in order: first the journal's, then live.

        Ends when the engine stops. Raises FellBehind when more than `limit` live events wait.
        """
        while True:
            # Subscribed before the journal is read, so that nothing falls between the two.
            live = self._feed.subscribe(namespace=namespace, wanted=wanted.fits, limit=limit)
            try:
                end = self.newest
                async with aclosing(self.told(wanted, namespace, after, end)) as told:
                    async for event in told:
                        yield event
                after = max(after, end)
                if live.dropped is not None:
                    continue  # reading took longer than what waits may grow: read on
                async for event in live:
                    yield event
                if live.dropped is not None:
                    raise FellBehind(live.dropped)
                return
            finally:
                live.close()

    async def told(
        self, wanted: Wanted, namespace: str, after: int, end: int
    ) -> AsyncGenerator[EventRecord, None]:
        """Every event after the one position and not after the other; then it is over."""
        while after < end:
            until = min(after + WINDOW, end)
            for happened in await self._store.happened(namespace, after, until):
                if wanted.fits(happened):
                    yield record_of(happened)
            after = until
