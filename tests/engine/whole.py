"""A whole engine on a clock moved by hand, with agents that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec

from opscore.core.types import SECOND, Micros
from opscore.engine.engine import Engine
from opscore.engine.lifecycle import AgentDetails, Connection
from opscore.engine.records import ClaimedAttempt, SessionRecord, SettlementReport
from opscore.engine.settings import Settings
from tests import stores

MEMORY = "sqlite:///:memory:"


class HandClock:
    """Time stands still until `move`; then whoever waited long enough wakes."""

    def __init__(self) -> None:
        self.micros: Micros = 1_700_000_000 * SECOND
        self._waiting: list[tuple[Micros, asyncio.Event]] = []

    def now(self) -> Micros:
        return self.micros

    async def sleep(self, seconds: float) -> None:
        await self.wait(asyncio.Event(), seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        if seconds <= 0:
            return event.is_set()
        alarm = asyncio.Event()
        entry = (self.micros + round(seconds * SECOND), alarm)
        self._waiting.append(entry)
        try:
            await _first(event, alarm)
        finally:
            self._waiting.remove(entry)
        return event.is_set()

    def move(self, seconds: float) -> None:
        self.micros += round(seconds * SECOND)
        for until, alarm in self._waiting:
            if until <= self.micros:
                alarm.set()


async def _first(*events: asyncio.Event) -> None:
    if any(event.is_set() for event in events):
        return
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


async def until(true: Callable[[], Any]) -> None:
    """Wait for something that will come; the test's own timeout bounds it."""
    while not true():  # noqa: ASYNC110 - what it waits for is any state of the engine
        await asyncio.sleep(0.001)


class Worker:
    """One instance of an agent; it hears, and settles when told to."""

    local = False

    def __init__(self, whole: Whole, agent_id: str, instance_id: str) -> None:
        self._whole = whole
        self.agent_id = agent_id
        self.instance_id = instance_id
        self.given: list[ClaimedAttempt] = []
        self.cancelled: list[tuple[str, int, float]] = []
        self.closed: list[str] = []
        self.drained: list[str] = []
        self.connection: Connection | None = None

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        self.given += attempts

    def cancel(
        self, attempts: Sequence[tuple[str, int]], reason: str, grace_seconds: float
    ) -> None:
        assert reason
        self.cancelled += [(*pair, grace_seconds) for pair in attempts]

    def drain(self, reason: str) -> None:
        self.drained.append(reason)

    def close(self, reason: str) -> None:
        self.closed.append(reason)

    async def got(self, count: int) -> list[ClaimedAttempt]:
        await until(lambda: len(self.given) >= count)
        return self.given

    async def settle(self, attempt: ClaimedAttempt, output: Any = 1, **more: Any) -> str:
        encoded = msgspec.Raw(msgspec.json.encode(output))
        outcome = more.pop("outcome", "completed")
        report = SettlementReport(attempt.task_id, attempt.attempt, outcome, encoded, **more)
        return (await self._whole.engine.orchestration.settle([report]))[0].verdict


class Whole:
    """An engine and its clock."""

    def __init__(self, engine: Engine, clock: HandClock) -> None:
        self.engine = engine
        self.clock = clock
        self.ops = engine.orchestration

    async def worker(
        self,
        capabilities: Sequence[str] = ("work",),
        *,
        name: str = "worker",
        instance: str = "i1",
        slots: int = 1,
        holding: Sequence[tuple[str, int]] | None = (),
        **more: Any,
    ) -> Worker:
        """`more`: what else its registration says."""
        details = AgentDetails(agent_name=name, capabilities=tuple(capabilities), **more)
        agent = await self.engine.lifecycle.register_agent(details)
        worker = Worker(self, agent.agent_id, instance)
        worker.connection = await self.engine.lifecycle.connect(
            agent.agent_id,
            instance_id=instance,
            max_in_flight=slots,
            holding=holding,
            receiver=worker,
        )
        return worker

    async def apply(self, steps: dict[str, Any], name: str = "t", **rest: Any) -> None:
        tree = {"name": name, "version": "1", "steps": steps, **rest}
        await self.ops.create_workflow(tree)

    async def ended(self, session_id: str) -> SessionRecord:
        """The session once it has ended; the clock need not move for it."""
        return await self.ops.wait(session_id, 1e9)

    async def pass_by(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass in small steps, and let the loops do what each brings."""
        passed = 0.0
        while passed < seconds:
            self.clock.move(min(step, seconds - passed))
            passed += step
            await self.calm()

    async def calm(self) -> None:
        """Nothing that was begun is still under way (as far as the store tells)."""
        quiet = 0
        while quiet < 8:
            await self.engine.store.queues()
            await asyncio.sleep(0)
            quiet = 0 if stores.committing(self.engine.store) else quiet + 1


@asynccontextmanager
async def whole(
    url: str = MEMORY, *, clock: HandClock | None = None, seed: int = 7, **settings: Any
) -> AsyncGenerator[Whole, None]:
    clock = clock or HandClock()
    engine = await Engine.open(
        stores.url(url), clock=clock, chance=Random(seed), settings=Settings(**settings)
    )
    try:
        yield Whole(engine, clock)
    finally:
        await engine.close(0)
