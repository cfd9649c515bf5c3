"""What telemetry costs the engine: the same work with none, with metrics, and with traces exported.

Measured in turns within one run, in alternating order, since a machine is not always as fast.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from opscore.bench.common import RecordingStore, database, figure, figures
from opscore.bench.engine import STEPS, Work, run_sessions
from opscore.bench.sink import sink
from opscore.engine.clock import Clock, SystemClock
from opscore.engine.engine import Engine
from opscore.engine.measuring import Measuring
from opscore.engine.operation_log import OperationLog
from opscore.engine.settings import Settings
from opscore.engine.unit import Unit
from opscore.outgoing.signing import Signing
from opscore.store.store import Store
from opscore.telemetry import measures as m
from opscore.telemetry.otlp.target import Target

Level = Literal["off", "metrics", "full"]
LEVELS: tuple[Level, ...] = ("off", "metrics", "full")
SAMPLE = 0.1


class _Counting(Measuring):
    """Counts nothing."""

    def committed(self, unit: Unit) -> None:
        """See `Measuring`."""


class _Saying(OperationLog):
    """Says nothing."""

    def committed(self, unit: Unit) -> None:
        """See `OperationLog`."""


class Unwatched(Engine):
    """The engine without metrics and without log records of its own."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        chance: random.Random,
        settings: Settings,
        signing: Signing,
    ) -> None:
        super().__init__(store, clock, chance, settings, signing)
        self._measuring = _Counting(store.now)
        self._operations = _Saying(self.logs.put, self._registry)


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement. `spans` were exported, `dropped` sessions were not."""

    work: Work
    spans: float = 0
    dropped: int = 0


async def main(quick: bool, level: Level) -> dict[str, Any]:
    """Measure a level against none; `quick` shows only that it works."""
    sessions, rounds = (300, 1) if quick else (2_000, 5)
    levels = LEVELS[: LEVELS.index(level) + 1]
    turns: dict[Level, list[Turn]] = {one: [] for one in levels}
    async with sink() as url:
        for number in range(rounds):
            for one in levels if number % 2 == 0 else levels[::-1]:
                turns[one].append(await _turn(one, sessions, url))
    found = turns[level]
    return figures(
        "engine",
        "steps/s",
        median(turn.work.rate for turn in found),
        settings={
            "telemetry": level,
            "sessions": sessions,
            "steps": STEPS,
            "rounds": rounds,
            **({"sample": SAMPLE} if level == "full" else {}),
        },
        figures=[
            *(_rate(one, turns[one]) for one in levels),
            *(_cost(one, turns) for one in levels[1:]),
            *(_processor(one, turns) for one in levels[1:]),
            *([figure("spans exported", "spans", sum(turn.spans for turn in found))]),
            *([figure("sessions not exported", "sessions", sum(turn.dropped for turn in found))]),
        ],
    )


def _rate(level: Level, turns: list[Turn]) -> dict[str, Any]:
    return figure(level, "steps/s", median(turn.work.rate for turn in turns))


def _cost(level: Level, turns: dict[Level, list[Turn]]) -> dict[str, Any]:
    pairs = zip(turns[level], turns["off"], strict=True)
    lost = median(1 - one.work.rate / off.work.rate for one, off in pairs)
    return figure(f"{level}: throughput lost", "%", 100 * lost)


def _processor(level: Level, turns: dict[Level, list[Turn]]) -> dict[str, Any]:
    pairs = zip(turns[level], turns["off"], strict=True)
    more = median(one.work.cpu / off.work.cpu - 1 for one, off in pairs)
    return figure(f"{level}: processor time more, until all is exported", "%", 100 * more)


async def _turn(level: Level, sessions: int, url: str) -> Turn:
    kind = Unwatched if level == "off" else Engine
    export = Target(url, sample=SAMPLE) if level == "full" else None
    async with database() as folder:
        store = RecordingStore(folder / "engine.db", 0)
        engine = await kind.start(store, SystemClock(), random.Random(), Settings(export=export))
        work = await run_sessions(engine, sessions)
        spans = sum(engine.measures.counted(m.EXPORTED_SPANS).values())
        dropped = 0 if engine.exporting is None else engine.exporting.state.dropped
        await engine.close()
    return Turn(work, spans, dropped)
