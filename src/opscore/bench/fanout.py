"""One session whose step runs once for each of 10,000 items, in process; and for each of 1,000."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from opscore.bench.common import RecordingStore, database, figure, figures, raw_limit
from opscore.bench.engine import Worker
from opscore.engine.clock import SystemClock
from opscore.engine.engine import Engine
from opscore.engine.records import EventRecord
from opscore.engine.settings import Settings

FEW, MANY = 1_000, 10_000
COMMANDS_KEPT = 60_000


def template() -> dict[str, object]:
    """One task for each item, then their outputs together."""
    return {
        "name": "fan-out",
        "version": "1",
        "steps": {
            "each": {
                "foreach": "${{ input.items }}",
                "capability": "pass-on",
                "with": {"number": "${{ item }}"},
            }
        },
        "output": {"count": "${{ size(steps.each.output) }}"},
    }


class Fan:
    """Runs one session at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ended = asyncio.Event()
        engine.hooks.on("session", self._changed)

    def _changed(self, event: EventRecord) -> None:
        if event.type != "session.started":
            self._ended.set()

    async def out(self, items: int) -> float:
        """Seconds from the request to the recorded end. Raises `AssertionError` if it failed."""
        self._ended.clear()
        given = msgspec.json.encode({"items": list(range(items))})
        began = time.perf_counter()
        session_id = await self._engine.orchestration.start("fan-out", input=given)
        await self._ended.wait()
        seconds = time.perf_counter() - began
        session = await self._engine.orchestration.get_session(session_id)
        assert session.output is not None, session.error
        assert bytes(session.output) == b'{"count":%d}' % items
        return seconds


async def main(quick: bool) -> dict[str, Any]:
    """Measure; `quick` measures each once, else the middle one of several counts."""
    times = 1 if quick else 5
    tasks = times * (FEW + MANY)
    async with database() as folder:
        store = RecordingStore(folder / "fanout.db", COMMANDS_KEPT)
        engine = await Engine.start(store, SystemClock(), random.Random(), Settings())
        await Worker(engine).join()
        await engine.orchestration.create_workflow(template())
        fan = Fan(engine)
        await fan.out(FEW)
        cpu = time.process_time()
        # In pairs, so that a disturbance of the machine meets both.
        pairs = [(await fan.out(FEW), await fan.out(MANY)) for _ in range(times)]
        cpu = time.process_time() - cpu
        counts = await store.counts()
        await engine.close()
        raw = await _raw_seconds(store, folder / "raw.db")
    few, many = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    return figures(
        "fanout",
        "s",
        many,
        rawLimit=raw,
        settings={"items": MANY, "fewItems": FEW, "times": times, "fsync": "full"},
        figures=[
            figure("10,000 items", "s", many),
            figure("1,000 items", "s", few),
            figure("ten times as many take", "times", median(m / f for f, m in pairs)),
            figure("tasks per second", "tasks/s", MANY / many),
            figure("cpu per task", "µs", cpu / tasks * 1e6),
            figure("tasks expected", "tasks", FEW + tasks),
            figure("tasks completed", "tasks", counts["completed"]),
        ],
    )


async def _raw_seconds(store: RecordingStore, path: Path) -> float:
    """Seconds that the rows of one session with so many items take when written bare."""
    # Every item is two commands: its claim and its settlement.
    return 2 * MANY / await raw_limit(store.kept, path)
