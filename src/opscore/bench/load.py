"""Sessions started in the server's process, through the verbs that the routes call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from opscore.bench.common import percentile
from opscore.engine.engine import Engine
from opscore.engine.records import EventRecord
from opscore.engine.tools import StartRequest

ONE_STEP = "one-step"
CAPABILITY = "pass-on"


def one_step() -> dict[str, object]:
    """A template with one capability task."""
    return {
        "name": ONE_STEP,
        "version": "1",
        "steps": {"only": {"capability": CAPABILITY, "with": {"number": "${{ input.number }}"}}},
        "output": "${{ steps.only.output }}",
    }


class Load:
    """Starts sessions and notes how long each took, from being accepted to its recorded end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ended: dict[str, asyncio.Future[float]] = {}
        self._milliseconds: list[float] = []

    def _completed(self, event: EventRecord) -> None:
        assert event.session_id is not None
        end = self._end_of(event.session_id)
        if not end.done():  # the run was broken off
            end.set_result(time.perf_counter())

    def _end_of(self, session_id: str) -> asyncio.Future[float]:
        future = self._ended.get(session_id)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._ended[session_id] = future
        return future

    async def prepare(self) -> None:
        """Store the template."""
        await self._engine.orchestration.create_workflow(one_step())

    async def run(self, count: int, lanes: int, batch: int) -> dict[str, Any]:
        """Run `count` sessions, `batch` of them in every lane at a time."""
        self._milliseconds.clear()
        hook = self._engine.hooks.on("session.completed", self._completed)
        batches = iter(range(0, count, batch))
        began, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(self._lane(batches, count, batch))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        self._engine.hooks.remove(hook)
        times = sorted(self._milliseconds)
        return {
            "completed": len(times),
            "seconds": seconds,
            "cpu": cpu,
            "p50Ms": percentile(times, 0.5),
            "p99Ms": percentile(times, 0.99),
        }

    async def _lane(self, batches: Iterator[int], count: int, batch: int) -> None:
        for first in batches:
            await self._batch(range(first, min(first + batch, count)))

    async def _batch(self, numbers: range) -> None:
        starts = [StartRequest(ONE_STEP, input=b'{"number":%d}' % n) for n in numbers]
        began = time.perf_counter()
        for session_id in await self._engine.orchestration.start_many(starts):
            ended = await self._end_of(session_id)
            del self._ended[session_id]
            self._milliseconds.append((ended - began) * 1000)
