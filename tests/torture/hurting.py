"""What is done to real processes under load: each layer hurts a field, calms it, and has it judged.

python -m tests.torture.hurting kills --cycles 15
python -m tests.torture.hurting zombies --cycles 4
python -m tests.torture.hurting partitions --cycles 4
python -m tests.torture.hurting disk --cycles 2
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from tests.torture.checker import Violation
from tests.torture.disk import fill_up, small_disk
from tests.torture.field import LEASE_SECONDS, Field
from tests.torture.partition import GONE, NARROW, Forbidden, Street, street

CLIENTS = 3
PAUSE = 0.3
"""At most so many seconds between two requests of a client."""


@dataclass(frozen=True)
class Result:
    """What came of a layer. `skipped`: why it could not be done here."""

    layer: str
    cycles: int
    violations: list[Violation]
    said: str
    seconds: float = 0.0
    skipped: str = ""


async def kills(field: Field, cycles: int) -> str:
    """`kill -9` of the server, again and again, at random moments of its load."""
    for _ in range(cycles):
        await asyncio.sleep(field.chance.random() * 1.2)
        field.kill_server()
        field.start_server()
        await field.ready()
    return "the server was killed with -9"


async def zombies(field: Field, cycles: int) -> str:
    """Agents stand still for longer than their lease and wake up, or are killed."""
    names = sorted(field.agents)
    for _ in range(cycles):
        frozen, killed = field.chance.sample(names, 2)
        child, _ = field.agents[frozen]
        child.signal(signal.SIGSTOP)
        field.restart_agent(killed)
        await asyncio.sleep(LEASE_SECONDS * (1 + field.chance.random()))
        child.signal(signal.SIGCONT)
        await asyncio.sleep(field.chance.random())
    return "one agent stopped for longer than its lease, another one killed"


def parted(way: Street) -> Callable[[Field, int], Awaitable[str]]:
    """Between server and agents nothing passes, or only some of it."""

    async def part(field: Field, cycles: int) -> str:
        for number in range(cycles):
            way.spoil(*(GONE if number % 2 == 0 else NARROW))
            await asyncio.sleep(LEASE_SECONDS * (0.5 + 2 * field.chance.random()))
            way.mend()
            await asyncio.sleep(1 + field.chance.random())
        return "what the server sends to agents was lost, or most of it late"

    return part


async def begin(field: Field, *before: str) -> None:
    """A server, three agents of which one polls, and load."""
    await field.prepare()
    field.start_agent("streamer", "streamer-1", "stream", *before)
    field.start_agent("streamer", "streamer-2", "stream", *before)
    field.start_agent("poller", "poller-1", "poll", *before)


async def hurt(
    field: Field, cycles: int, how: Callable[[Field, int], Awaitable[str]], *before: str
) -> tuple[str, list[Violation]]:
    """Load, harm, calm, judgement."""
    said = ""
    try:
        await begin(field, *before)
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(field.load(PAUSE))
            said = await how(field, cycles)
            await field.calm()
        said = f"{said}; {len(field.known)} sessions"
    finally:
        found = await field.end()
    return said, found


def layer(name: str, cycles: int, seed: int, directory: Path) -> tuple[str, list[Violation]]:
    """One layer. Raises Forbidden where the machine does not allow it."""
    with ExitStack() as stack:
        match name:
            case "kills":
                return asyncio.run(hurt(Field(directory, seed), cycles, kills))
            case "zombies":
                return asyncio.run(hurt(Field(directory, seed), cycles, zombies))
            case "partitions":
                way = stack.enter_context(street())
                field = Field(directory, seed, way.address)
                return asyncio.run(hurt(field, cycles, parted(way), *way.inside))
            case _:
                disk = stack.enter_context(small_disk(directory))
                field = Field(directory, seed)
                field.use(disk / "ops.db")
                return asyncio.run(hurt(field, cycles, fill_up))


LAYERS = ("kills", "zombies", "partitions", "disk")


def run(name: str, cycles: int, seed: int) -> Result:
    """One layer in a directory of its own; what it left is kept when something is wrong."""
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix=f"torture-{name}-"))
    try:
        said, found = layer(name, cycles, seed, directory)
    except Forbidden as reason:
        return Result(name, 0, [], "", time.monotonic() - began, str(reason))
    if found:
        said = f"{said}; seed {seed}, see {directory}"
    return Result(name, cycles, found, said, time.monotonic() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description="Hurt real processes under load.")
    parser.add_argument("layer", choices=LAYERS)
    parser.add_argument("--cycles", type=int, default=4)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000))
    given = parser.parse_args()
    print(f"{given.layer}: seed {given.seed}", flush=True)
    result = run(given.layer, given.cycles, given.seed)
    for violation in result.violations[:20]:
        print(violation)
    print(f"{result.cycles} cycles in {result.seconds:.0f} s: {result.said}")
    if result.skipped:
        print(f"SKIPPED, {result.layer} WAS NOT TESTED: {result.skipped}")
    print(f"{len(result.violations)} violations")
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
