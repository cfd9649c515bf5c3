"""Deterministic simulation: the real core, engine, writer and store on simulated time, under faults.

    python -m tests.torture.simulate --seeds 300 --from 1

Everything follows from the seed: run it again and it takes the same course. A run goes on under
faults for a while; then comes a calm, in which everything must come to its end; then the checker
judges what clients, agents and the journal tell.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Never

import structlog

from tests.torture.awaits import Point, points
from tests.torture.checker import Violation, check
from tests.torture.evidence import Evidence, read_sqlite
from tests.torture.loop import SimulatedLoop, Stuck
from tests.torture.world import World

SHARED_MEMORY = Path("/dev/shm")


@dataclass
class Outcome:
    """What came of one seed. `trace` is the hash of all that happened."""

    seed: int
    trace: str
    violations: list[Violation]
    events: int
    lives: int
    struck: set[Point] = field(default_factory=set[Point])
    faults: Counter[str] = field(default_factory=Counter[str])


def run(seed: int, directory: Path) -> Outcome:
    """One run. `directory` is left as it was."""
    chance = Random(seed)
    loop = SimulatedLoop(Random(chance.getrandbits(64)))
    path = directory / f"torture-{os.getpid()}-{seed}.db"
    shutil.copyfile(_prepared(directory), path)
    gc.disable()
    world = World(loop, chance, path)
    try:
        violations = _play(loop, world)
        evidence = Evidence(world.journal, world.ledger, read_sqlite(path))
        violations += check(evidence)
        trace = _trace(evidence)
        return Outcome(
            *(seed, trace, violations, len(evidence.database.events), len(world.lives)),
            *({p for life in world.lives for p in life.struck_at}, world.faults),
        )
    finally:
        world.bury()
        loop.close()
        for left in directory.glob(f"{path.stem}*"):
            left.unlink()
        gc.enable()


def _prepared(directory: Path) -> Path:
    """A database that has the templates and nothing else; made once."""
    path = directory / "prepared.db"
    if not path.exists():
        loop = SimulatedLoop(Random(0))
        loop.run_until_complete(loop.create_task(World(loop, Random(0), path).prepare()))
        loop.close()
    return path


def _play(loop: SimulatedLoop, world: World) -> list[Violation]:
    CRITICAL.clear()
    try:
        loop.run_until_complete(loop.create_task(world.run()))
    except Stuck:
        return [Violation("the_calm_comes", "nothing happens any more, and somebody waits")]
    crashes = world.network.crashes + loop.broken + CRITICAL
    found = [Violation("nothing_crashes", text) for text in crashes]
    return found + [Violation("the_calm_comes", text) for text in world.complaints]


def _trace(evidence: Evidence) -> str:
    told = [evidence.clients, evidence.agents, evidence.database.events]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


# -- many seeds -----------------------------------------------------------------------------------


@dataclass
class Total:
    """What came of many."""

    seeds: int = 0
    events: int = 0
    lives: int = 0
    failed: list[Outcome] = field(default_factory=list[Outcome])
    struck: set[Point] = field(default_factory=set[Point])
    faults: Counter[str] = field(default_factory=Counter[str])
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.events += outcome.events
        self.lives += outcome.lives
        self.struck |= outcome.struck
        self.faults += outcome.faults
        if outcome.violations:
            self.failed.append(outcome)

    def join(self, other: Total) -> None:
        """What came of others at the same time."""
        self.seeds += other.seeds
        self.events += other.events
        self.lives += other.lives
        self.struck |= other.struck
        self.faults += other.faults
        self.failed += other.failed
        self.seconds = max(self.seconds, other.seconds)

    def __str__(self) -> str:
        share = 100 * len(self.struck) / len(points())
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        return (
            f"{self.seeds} seeds, {self.events} events, {self.lives} lives of servers in "
            f"{self.seconds:.0f} s ({self.seeds / max(self.seconds, 0.001):.1f} seeds/s); "
            f"violations in {len(self.failed)}\n"
            f"killed at {len(self.struck)} of {len(points())} await points ({share:.0f} %)\n"
            f"faults: {faults}"
        )


def run_many(seeds: Iterable[int], given: argparse.Namespace) -> Total:
    """Seeds one after another, until there are no more, or for so long."""
    total = Total()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_fast()) as directory:
        for seed in seeds:
            total.seconds = time.monotonic() - began
            late = given.seconds is not None and total.seconds > given.seconds
            if (late and total.seeds >= given.least) or (given.first_failure and total.failed):
                break
            outcome = run(seed, Path(directory))
            total.add(outcome)
            if given.trace:
                print(f"seed {seed}: {outcome.trace}, {outcome.events} events", flush=True)
            for violation in outcome.violations[:5]:
                print(f"seed {seed}: {violation}", flush=True)
            if total.seeds % 20 == 0:
                gc.collect()
    total.seconds = time.monotonic() - began
    return total


def run_in_several(given: argparse.Namespace) -> Total:
    """As `run_many`, the seeds dealt out among processes."""
    each = argparse.Namespace(**{**vars(given), "least": -(-given.least // given.jobs)})
    total = Total()
    context = multiprocessing.get_context("spawn")
    with context.Pool(given.jobs, prepare_process) as pool:
        hands = [
            range(given.first + n, given.first + given.seeds, given.jobs) for n in range(given.jobs)
        ]
        for part in pool.starmap(run_many, [(hand, each) for hand in hands]):
            total.join(part)
    return total


def _fast() -> Path | None:
    return SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None


CRITICAL: list[str] = []
"""What the product said at its highest level: a loop of the engine broke."""


def hear_critical_only() -> None:
    """Faults make the product complain a lot; rendering that would take most of the time."""

    def note(_: object, __: str, said: MutableMapping[str, Any]) -> Never:
        CRITICAL.append(str({key: str(value)[:300] for key, value in said.items()}))
        raise structlog.DropEvent

    structlog.configure(
        processors=[note], wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )


def ignore_the_dead(_: object) -> None:
    """Coroutines of servers that were killed end when they are thrown away: that is no error."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Simulate servers, agents and clients under faults."
    )
    parser.add_argument("--seeds", type=int, default=300, help="how many, at most")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first one")
    parser.add_argument("--seconds", type=float, help="stop after so long, see --least")
    parser.add_argument("--least", type=int, default=0, help="but do so many in any case")
    parser.add_argument("--first-failure", action="store_true", help="stop at the first violation")
    parser.add_argument("--trace", action="store_true", help="print each seed's hash")
    parser.add_argument("--jobs", type=int, default=1, help="processes at the same time")
    given = parser.parse_args()
    prepare_process()
    if given.jobs == 1:
        total = run_many(range(given.first, given.first + given.seeds), given)
    else:
        total = run_in_several(given)
    print(total)
    return 1 if total.failed else 0


def prepare_process() -> None:
    """What the dead leave behind is no error: their coroutines end when they are thrown away."""
    sys.unraisablehook = ignore_the_dead
    warnings.simplefilter("ignore", RuntimeWarning)
    hear_critical_only()


def with_fixed_hashes() -> None:
    """Start over with hashes of text that are the same every time: sets are walked in their order."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.torture.simulate", *sys.argv[1:]])


if __name__ == "__main__":
    with_fixed_hashes()
    sys.exit(main())
