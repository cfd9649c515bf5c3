"""A burst of log records beside an engine at work: what it costs the work, and what is dropped."""

from __future__ import annotations

import asyncio
import random
from itertools import cycle, islice
from statistics import median
from typing import Any

from opscore.bench.common import RecordingStore, database, figure
from opscore.bench.engine import run_sessions
from opscore.core.logs import LogRecord
from opscore.core.types import SECOND
from opscore.engine.clock import SystemClock
from opscore.engine.engine import Engine
from opscore.engine.settings import Settings

RATE = 50_000
TICK = 0.01


async def burst(quick: bool, records: list[LogRecord]) -> list[dict[str, Any]]:
    """Figures of an engine without and beside the burst, in turns."""
    sessions, rounds = (200, 1) if quick else (2_000, 3)
    alone, beside = list[float](), list[float]()
    offered = dropped = 0.0
    for _ in range(rounds):
        alone.append((await _turn(sessions, []))[0])
        rate, told, lost = await _turn(sessions, records)
        beside.append(rate)
        offered, dropped = max(offered, told), dropped + lost
    lost_rate = median(1 - two / one for one, two in zip(alone, beside, strict=True))
    return [
        figure("engine alone", "steps/s", median(alone)),
        figure("engine beside the burst", "steps/s", median(beside)),
        figure("engine: throughput lost to the burst", "%", 100 * lost_rate),
        figure("records offered", "records/s", offered),
        figure("records dropped, and told", "records", dropped),
    ]


async def _turn(sessions: int, records: list[LogRecord]) -> tuple[float, float, int]:
    """Steps a second, records offered a second, and how many were dropped."""
    async with database() as folder:
        store = RecordingStore(folder / "engine.db", 0)
        engine = await Engine.start(store, SystemClock(), random.Random(), Settings())
        stop, began = asyncio.Event(), engine.clock.now()
        async with asyncio.TaskGroup() as group:
            pouring = group.create_task(_pour(engine, records, stop))
            work = await run_sessions(engine, sessions)
            stop.set()
        count, seconds = pouring.result(), (engine.clock.now() - began) / SECOND
        dropped = engine.logs.state.dropped
        await engine.close()
    return work.rate, count / seconds, dropped


async def _pour(engine: Engine, records: list[LogRecord], stop: asyncio.Event) -> int:
    """Offer records as fast as the rate says, until told to stop; how many it were."""
    endless, began, count = cycle(records), engine.clock.now(), 0
    while records and not stop.is_set():
        due = round((engine.clock.now() - began) / SECOND * RATE)
        for record in islice(endless, due - count):
            engine.shipping.ship(record)
        count = due
        await asyncio.sleep(TICK)
    return count
