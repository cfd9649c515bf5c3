"""A million pending waits: how late timers fire at 1,000 due per second, and what they cost others.

The pending waits are sessions of one step, written in bulk: the rows of one that the engine made,
under other ids and with other times. What comes due is due evenly; each timer ends its session.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import msgspec

from opscore.bench.common import RecordingStore, database, figure, figures, percentile
from opscore.bench.engine import CONCURRENT, STEPS, Sessions, Worker, template
from opscore.core.types import SECOND, Micros
from opscore.engine.clock import SystemClock
from opscore.engine.engine import Engine
from opscore.engine.ids import Ids
from opscore.engine.records import EventRecord
from opscore.engine.settings import Settings
from opscore.store.rows import Changes

PER_SECOND = 1_000
PER_COMMIT = 5_000
FAR: Micros = 3_600 * SECOND
WAIT: dict[str, object] = {"name": "wait", "version": "1", "steps": {"w": {"wait": "1h"}}}


class Waits:
    """Writes sessions that wait, and notes how late those that come due have fired."""

    def __init__(self, store: RecordingStore, engine: Engine, clock: SystemClock) -> None:
        self._store = store
        self._ids = Ids(clock, random.Random(1))
        self._clock = clock
        self._due: dict[str, Micros] = {}
        self.late: list[Micros] = []
        self.all_fired = asyncio.Event()
        engine.hooks.on("session.completed", self._fired)

    async def write(self, sample: Changes, dues: list[Micros], *, watched: bool) -> None:
        """One session for each time, in large commits."""
        for start in range(0, len(dues), PER_COMMIT):
            changes = Changes()
            for due in dues[start : start + PER_COMMIT]:
                session_id = self._ids.new("ses_")
                _copy(changes, sample, session_id, due)
                if watched:
                    self._due[session_id] = due
            await self._store.write_bare([changes])

    def _fired(self, event: EventRecord) -> None:
        due = self._due.pop(event.session_id or "", None)
        if due is not None:
            self.late.append(self._clock.now() - due)
            if not self._due:
                self.all_fired.set()


def _copy(changes: Changes, sample: Changes, session_id: str, due: Micros) -> None:
    (timer,) = sample.timers.values()
    (header,) = sample.sessions.values()
    old, new = b"%d" % timer.due, b"%d" % due
    changes.events += [
        event._replace(session_id=session_id, data=bytes(event.data).replace(old, new))
        for event in sample.events
    ]
    changes.sessions[session_id] = header._replace(session_id=session_id)
    changes.set_timer(timer._replace(session_id=session_id, due=due))


async def _throughput(sessions: Sessions, count: int) -> float:
    """Durable steps per second of ten-step sessions."""
    numbers = iter(range(count))
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(CONCURRENT, count)):
            group.create_task(sessions.lane(numbers))
    return count * STEPS / (time.perf_counter() - began)


async def main(quick: bool) -> dict[str, Any]:
    """Measure; `quick` shows only that it works."""
    pending, seconds, count = (5_000, 1, 50) if quick else (1_000_000, 10, 2_000)
    async with database() as folder:
        clock = SystemClock()
        store = RecordingStore(folder / "timers.db", 1_000)
        engine = await Engine.start(store, clock, random.Random(), Settings())
        await Worker(engine).join()
        for each in (template(), WAIT):
            await engine.orchestration.create_workflow(each)
        await engine.orchestration.start("wait", input=msgspec.Raw(b"{}"))
        sample = next(changes for changes in store.kept if changes.timers)
        waits, sessions = Waits(store, engine, clock), Sessions(engine)
        before = await _throughput(sessions, count)
        began = time.perf_counter()
        far = clock.now() + FAR
        await waits.write(sample, [far + n * 1_000 for n in range(pending)], watched=False)
        written = time.perf_counter() - began
        beside = await _throughput(sessions, count)
        first, step = clock.now() + 2 * SECOND, SECOND // PER_SECOND
        dues = [first + n * step for n in range(seconds * PER_SECOND)]
        await waits.write(sample, dues, watched=True)
        await waits.all_fired.wait()
        left = (await store.counts())["timers"]
        await engine.close()
    late = sorted(micros / 1_000 for micros in waits.late)
    return figures(
        "timers",
        "ms late (p99)",
        percentile(late, 0.99),
        p50Ms=round(percentile(late, 0.50), 3),
        p99Ms=round(percentile(late, 0.99), 3),
        settings={
            "pending": pending,
            "duePerSecond": PER_SECOND,
            "seconds": seconds,
            "fsync": "full",
        },
        figures=[
            figure("fired", "timers", len(late)),
            figure("still pending", "timers", left),
            figure("latest", "ms", late[-1]),
            figure("steps without pending waits", "steps/s", before),
            figure("steps beside them", "steps/s", beside),
            figure("seconds to write them", "s", written),
        ],
    )
