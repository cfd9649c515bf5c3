"""Durable workflow steps per second in process: 10-step sessions, 1,000 at a time.

Every step is a capability task of a local agent: its availability, its claim and its settlement are
committed with fsync, with journal and queue, by the engine that a server runs.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from opscore.bench.common import RecordingStore, database, figures, raw_limit
from opscore.engine.clock import SystemClock
from opscore.engine.engine import Engine
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.records import ClaimedAttempt, EventRecord, SettlementReport
from opscore.engine.settings import Settings

STEPS = 10
CONCURRENT = 1_000
COMMANDS_KEPT = 60_000
EXPORT_SECONDS = 60.0


def template() -> dict[str, object]:
    """Ten steps in a row, each passing on what the one before it gave."""
    steps: dict[str, object] = {
        "s0": {"capability": "pass-on", "with": {"number": "${{ input.number }}"}}
    }
    for n in range(1, STEPS):
        steps[f"s{n}"] = {
            "needs": f"s{n - 1}",
            "capability": "pass-on",
            "with": {"number": f"${{{{ steps.s{n - 1}.output.number }}}}"},
        }
    return {
        "name": "ten-steps",
        "version": "1",
        "steps": steps,
        "output": f"${{{{ steps.s{STEPS - 1}.output }}}}",
    }


class Worker:
    """The receiver of an agent whose work is nothing, so that the engine is what is measured.

    It settles what one claim brought in one batch, as the server's stream channel does.
    """

    local = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def join(self) -> None:
        """Register, and take a seat with a slot for every session."""
        details = AgentDetails("worker", capabilities=("pass-on",))
        agent = await self._engine.lifecycle.register_agent(details)
        await self._engine.lifecycle.connect(
            agent.agent_id,
            instance_id="worker-1",
            max_in_flight=CONCURRENT,
            holding=[],
            receiver=self,
        )

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """Give each attempt's input back as its output."""
        reports = [SettlementReport(a.task_id, a.attempt, "completed", a.input) for a in attempts]
        self._engine.spawn(self._engine.orchestration.settle(reports))

    def cancel(
        self, attempts: Sequence[tuple[str, int]], reason: str, grace_seconds: float
    ) -> None:
        """Nothing runs long enough to be cancelled."""

    def drain(self, reason: str) -> None:
        """The engine is closed when the measurement is over."""

    def close(self, reason: str) -> None:
        """See `drain`."""


class Sessions:
    """Runs sessions one after another in each of many lanes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ended: dict[str, asyncio.Event] = {}
        engine.hooks.on("session.completed", self._completed)

    def _completed(self, event: EventRecord) -> None:
        assert event.session_id is not None
        self._ended.setdefault(event.session_id, asyncio.Event()).set()

    async def lane(self, numbers: Iterator[int]) -> None:
        """Start a session, wait for its end, and so on until the numbers are used up."""
        for number in numbers:
            session_id = await self._engine.orchestration.start(
                "ten-steps", input=b'{"number":%d}' % number
            )
            await self._ended.setdefault(session_id, asyncio.Event()).wait()
            del self._ended[session_id]


@dataclass(frozen=True, slots=True)
class Work:
    """So many steps, in so much time, for so much processor time."""

    steps: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Steps a second."""
        return self.steps / self.seconds


async def run_sessions(engine: Engine, count: int) -> Work:
    """Run so many sessions, and what follows from them (an export) to its end."""
    await Worker(engine).join()
    await engine.orchestration.create_workflow(template())
    sessions, numbers = Sessions(engine), iter(range(count))
    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT):
            group.create_task(sessions.lane(numbers))
    seconds = time.perf_counter() - began
    if engine.exporting is not None:
        await engine.exporting.flush(EXPORT_SECONDS)
    return Work(count * STEPS, seconds, time.process_time() - cpu)


async def main(quick: bool) -> dict[str, Any]:
    """Measure; `quick` shows only that it works."""
    count = 1_000 if quick else 12_000
    async with database() as folder:
        store = RecordingStore(folder / "engine.db", COMMANDS_KEPT)
        engine = await Engine.start(store, SystemClock(), random.Random(), Settings())
        work = await run_sessions(engine, count)
        counts = await store.counts()
        await engine.close()
        # A step is two commands: its claim, and its end, which begins the next one.
        raw = await raw_limit(store.kept, folder / "raw.db") / 2
    return figures(
        "engine",
        "steps/s",
        work.rate,
        rawLimit=raw,
        settings={"sessions": count, "steps": STEPS, "concurrent": CONCURRENT, "fsync": "full"},
        figures=[
            {"name": "cpu per step", "unit": "µs", "value": round(work.cpu / work.steps * 1e6, 1)},
            {"name": "processor", "unit": "cores", "value": round(work.cpu / work.seconds, 2)},
            {"name": "tasks completed", "unit": "tasks", "value": counts["completed"]},
            {"name": "seconds", "unit": "s", "value": round(work.seconds, 2)},
        ],
    )
