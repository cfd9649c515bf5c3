"""In-process code that hears of every change, after its commit. It can undo nothing."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from opscore.engine.journal import public
from opscore.engine.records import EventRecord, PartState
from opscore.engine.unit import Unit
from opscore.store.rows import StoredEvent

Hook = Callable[[EventRecord], Awaitable[None] | None]

AT_ONCE = 16
WAITING_LIMIT = 10_000
NAMED = 5
"""So many hooks that are not well are named."""

log = structlog.get_logger("opscore.hooks")


class Subscription:
    """One hook. `missed` counts the events it was too slow for."""

    def __init__(self, hooks: Hooks, pattern: str, call: Hook) -> None:
        self.missed = 0
        self._hooks = hooks
        self._pattern = pattern
        self.call = call
        self.is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
            getattr(call, "__call__", None)  # noqa: B004 - an object whose call is a coroutine
        )
        self.waiting: deque[EventRecord] = deque()
        self.running = False
        self.failure: str | None = None
        """The class of what it raised the last time; None when that went well."""

    def wants(self, event_type: str) -> bool:
        """Whether the pattern is this type, a prefix of its words, or `*`."""
        pattern = self._pattern
        return pattern in ("*", event_type) or event_type.startswith(f"{pattern}.")

    def close(self) -> None:
        """Hear nothing more."""
        self._hooks.remove(self)

    @property
    def name(self) -> str:
        """How logs call it."""
        return getattr(self.call, "__qualname__", type(self.call).__name__)


class Hooks:
    """Subscriptions of in-process code to events of sessions, tasks, agents and instances.

    A plain function is called on the loop and must not block. Coroutine functions run in the
    engine's group, one event at a time and in order for each hook, at most 16 hooks at once. What
    a hook raises is logged.
    """

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._group: asyncio.TaskGroup | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._closed = asyncio.Event()

    @property
    def state(self) -> PartState:
        """Which hooks raise, or are too slow, and how many events wait for hooks."""
        broken = [f"{one.name}: {one.failure}" for one in self._subscriptions if one.failure]
        slow = [
            f"{one.name}: missed {one.missed} events" for one in self._subscriptions if one.missed
        ]
        problem = "; ".join([*broken, *slow][:NAMED])
        return PartState(problem or None, sum(len(one.waiting) for one in self._subscriptions))

    def on(self, pattern: str, call: Hook) -> Subscription:
        """Call `call` with every event of a type.

        `pattern` is a type (`task.failed`), its first word (`session`, `agent`), or `*`.
        """
        subscription = Subscription(self, pattern.removesuffix(".*").rstrip("."), call)
        self._subscriptions = [*self._subscriptions, subscription]
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """End a subscription; nothing happens when it has ended."""
        self._subscriptions = [s for s in self._subscriptions if s is not subscription]
        subscription.waiting.clear()

    def committed(self, unit: Unit, first_position: int) -> None:
        """Tell of a commit, once everything else has followed it. Costs nothing without hooks."""
        if self._subscriptions:
            unit.after.append(lambda: self._tell(unit, first_position))

    def _tell(self, unit: Unit, first_position: int) -> None:
        hearers: dict[str, list[Subscription]] = {}
        agents_first = first_position + len(unit.changes.events)
        for position, row in enumerate(unit.changes.agent_events, agents_first):
            for subscription in self._hearers(hearers, row.type):
                self._give(subscription, public(StoredEvent(position, *row[1:]), of_agent=True))
        for position, row in enumerate(unit.changes.events, first_position):
            for subscription in self._hearers(hearers, row.type):
                self._give(subscription, public(StoredEvent(position, *row)))

    def _hearers(self, known: dict[str, list[Subscription]], kind: str) -> list[Subscription]:
        found = known.get(kind)
        if found is None:
            found = known[kind] = [s for s in self._subscriptions if s.wants(kind)]
        return found

    def _give(self, subscription: Subscription, event: EventRecord) -> None:
        if not subscription.is_async:
            self._call(subscription, event)
        elif len(subscription.waiting) >= WAITING_LIMIT:
            subscription.missed += 1
            if subscription.missed == 1:
                log.error("hook_too_slow", hook=subscription.name, limit=WAITING_LIMIT)
        else:
            subscription.waiting.append(event)
            self._start(subscription)

    def _call(self, subscription: Subscription, event: EventRecord) -> None:
        try:
            subscription.call(event)
            subscription.failure = None
        except Exception as error:
            subscription.failure = type(error).__name__
            log.exception("hook_failed", **_said(subscription, event))

    def _start(self, subscription: Subscription) -> None:
        if self._group is not None and not subscription.running:
            subscription.running = True
            self._group.create_task(self._work_off(subscription))

    async def _work_off(self, subscription: Subscription) -> None:
        try:
            while subscription.waiting:
                event = subscription.waiting.popleft()
                async with self._slots:
                    await self._await(subscription, event)
        finally:
            subscription.running = False

    async def _await(self, subscription: Subscription, event: EventRecord) -> None:
        try:
            result = subscription.call(event)
            if result is not None:
                await result
            subscription.failure = None
        except Exception as error:
            subscription.failure = type(error).__name__
            log.exception("hook_failed", **_said(subscription, event))

    async def run(self) -> None:
        """Carry coroutine hooks, until `close`; then what waits is still carried out."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for subscription in self._subscriptions:
                if subscription.waiting:
                    self._start(subscription)
            await self._closed.wait()
        self._group = None

    def close(self) -> None:
        """Let `run` end."""
        self._closed.set()


def _said(subscription: Subscription, event: EventRecord) -> dict[str, str | None]:
    return {
        "hook": subscription.name,
        "event_type": event.type,
        "session_id": event.session_id,
        "agent_id": event.agent_id,
    }
