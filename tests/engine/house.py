"""The engine's moving parts put together as the composition root does, on a clock moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from opscore.core.events import SessionStarted
from opscore.core.template import Target
from opscore.core.types import SECOND, SYSTEM, Actor, Json, Micros, SessionStatus
from opscore.core.why_words import nobody
from opscore.engine.cache import SessionCache, TemplateCache
from opscore.engine.dispatcher import Dispatcher
from opscore.engine.hooks import Hooks
from opscore.engine.ids import Ids
from opscore.engine.lifecycle import Lifecycle
from opscore.engine.records import (
    ClaimedAttempt,
    SessionRecord,
    SettlementReport,
    VerdictRecord,
)
from opscore.engine.registry import Registry
from opscore.engine.requests import SettleAttempts, StartSessions
from opscore.engine.unit import Means, Unit
from opscore.engine.writer import Writer
from opscore.expressions import CelExpressions
from opscore.store.postgres import PostgresStore
from opscore.store.rows import TemplateRow
from opscore.store.sqlite import SqliteStore
from tests import stores

TEMPLATE = b'{"name": "one", "version": "1", "steps": {"work": {"capability": "sum", "retry": 1}}}'
LEASE: Micros = 15 * SECOND


class ManualClock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.micros: Micros = 1_700_000_000 * SECOND

    def now(self) -> Micros:
        return self.micros

    async def sleep(self, seconds: float) -> None:
        self.micros += round(seconds * SECOND)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        if not event.is_set():
            await self.sleep(seconds)
        return event.is_set()


@dataclass
class Ears:
    """A receiver that remembers what it was told."""

    given: asyncio.Queue[ClaimedAttempt] = field(default_factory=asyncio.Queue[ClaimedAttempt])
    cancelled: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    drained: list[str] = field(default_factory=list[str])
    closed: list[str] = field(default_factory=list[str])

    local = False

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        for attempt in attempts:
            self.given.put_nowait(attempt)

    def cancel(
        self, attempts: Sequence[tuple[str, int]], reason: str, grace_seconds: float
    ) -> None:
        assert reason
        assert grace_seconds >= 0
        self.cancelled += attempts

    def drain(self, reason: str) -> None:
        self.drained.append(reason)

    def close(self, reason: str) -> None:
        self.closed.append(reason)


class OneStep:
    """Sessions of one template with one step, through the real write path."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.patched: list[Mapping[str, Any]] = []

    async def start(
        self,
        workflow: str,
        *,
        version: str | None = None,
        input: Json = b"{}",
        context: Json = b"{}",
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        agent_id: str | None = None,
        namespace: str = "default",
        actor: Actor = SYSTEM,
    ) -> str:
        house = self._house
        session_id = house.ids.new("ses_")
        event = SessionStarted(
            namespace=namespace,
            workflow=workflow,
            template_version=version or "1",
            input=input,
            context=context,
            priority=priority or 50,
            labels=labels or {},
            trace_id=house.ids.hex(128),
            actor=str(actor),
            agent_id=agent_id,
        )
        await house.writer.submit(StartSessions([(session_id, event)]))
        return session_id

    async def get_session(self, session_id: str, *, namespace: str = "default") -> SessionRecord:
        row = await self._house.store.session(session_id)
        assert row is not None
        assert row.namespace == namespace
        return _record(session_id, row.agent_id)

    async def patch_session(
        self,
        session_id: str,
        *,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        metadata: Any = None,
        namespace: str = "default",
        actor: Actor = SYSTEM,
    ) -> SessionRecord:
        given = {"priority": priority, "labels": labels, "metadata": metadata}
        self.patched.append({**given, "namespace": namespace, "actor": str(actor)})
        return await self.get_session(session_id)


def _record(session_id: str, agent_id: str | None) -> SessionRecord:
    status = SessionStatus.PROCESSING
    return SessionRecord(
        session_id, "default", "one", "1", status, 50, {}, agent_id, 0, 0, None, ""
    )


class House:
    """Store, writer, dispatcher, lifecycle and hooks."""

    def __init__(self, url: str, clock: ManualClock) -> None:
        self.clock = clock
        url = stores.url(url)
        on_postgres = stores.current == "postgres"
        self.store = PostgresStore(url, clock.now) if on_postgres else SqliteStore(url, clock.now)
        self.ids = Ids(clock, Random(7))
        templates = TemplateCache()
        templates.add(TemplateRow("default", "one", "1", "", "digest", TEMPLATE, 1))
        means = Means(SessionCache(), templates, CelExpressions(), 262_144, LEASE)
        self.commits: list[Unit] = []
        # Four under way: so that single commands are decided over uncommitted ones.
        self.writer = Writer(self.store, means, self._published, under_way=((0, 4),))
        self.dispatcher = Dispatcher(self.writer, lambda: 0.5)
        self.registry = Registry()
        self.sessions = OneStep(self)
        self.lifecycle = Lifecycle(
            self.store,
            self.writer,
            self.dispatcher,
            self.registry,
            sessions=self.sessions,
            new_id=self.ids.new,
            offline_after=45 * SECOND,
        )
        self.hooks = Hooks()

    def _published(self, unit: Unit, first_position: int) -> None:
        self.commits.append(unit)
        self.dispatcher.committed(unit)
        self.lifecycle.committed(unit)
        self.hooks.committed(unit, first_position)

    @asynccontextmanager
    async def slow_commit(self) -> AsyncGenerator[None]:
        """No commit ends inside; what is decided meanwhile is decided over uncommitted changes."""
        async with self.store._turn:  # pyright: ignore[reportPrivateUsage]
            yield

    async def decided(self) -> None:
        """Let the loop do all it can without a commit's end."""
        for _ in range(20):
            if self.store.shared is None:
                await asyncio.sleep(0)
            else:
                await self.store.queues()

    async def settle(self, attempt: ClaimedAttempt, outcome: str = "completed") -> VerdictRecord:
        report = SettlementReport(attempt.task_id, attempt.attempt, outcome)
        verdicts = await self.writer.submit(SettleAttempts([report], lambda: 0.5))
        return verdicts[0]

    async def start(self) -> str:
        return await self.sessions.start("one", actor=Actor("operator", "ada"))

    async def sweep(self, seconds: float) -> None:
        """Let time pass, then look who is there."""
        await self.clock.sleep(seconds)
        await self.lifecycle.sweep_presence(self.clock.now())

    def why_nobody(self, target: Target) -> str:
        """Why a task for this target has no taker, as a queue timeout says it."""
        return nobody(target, self.lifecycle.takers("default", target))

    async def events(self, agent_id: str) -> list[str]:
        return [row.type for row in await self.store.agent_journal(agent_id, 0, 1000)]


@asynccontextmanager
async def opened(
    url: str = "sqlite:///:memory:",
    clock: ManualClock | None = None,
    before_run: Callable[[House], None] = lambda _: None,
) -> AsyncGenerator[House]:
    house = House(url, clock or ManualClock())
    await house.store.open()
    await house.lifecycle.preload()
    before_run(house)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(house.writer.run())
            group.create_task(house.hooks.run())
            dispatching = group.create_task(house.dispatcher.run())
            try:
                yield house
            finally:
                house.hooks.close()
                house.writer.close()
                dispatching.cancel()
    finally:
        await house.store.close()
