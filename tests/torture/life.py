"""One life of a server: the real engine, writer and store on a file, until it is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

import apsw

import opscore.engine.cache as engine_cache
import opscore.engine.clock as engine_clock
from opscore.channels.instance import InstanceStream, Terms
from opscore.core.access import Principal
from opscore.core.errors import OpsCoreError
from opscore.core.template import Template
from opscore.core.types import Actor
from opscore.engine.clock import SystemClock
from opscore.engine.engine import Engine
from opscore.engine.logs import Logs
from opscore.engine.settings import Settings
from opscore.engine.writer import Writer
from opscore.store.sqlite import SqliteStore
from opscore.templates import read_template
from opscore.wire.base import Problem
from tests.torture.awaits import Point, suspended
from tests.torture.loop import Mortal, SimulatedLoop

if TYPE_CHECKING:
    from tests.torture.network import Wire

ADA = Actor("operator", "ada")
WORKER = Principal(Actor("agent", "any"), "default", frozenset())


def _start_nothing(_: Logs) -> None:
    """Log records promise nothing and have a thread of their own: here they are not kept."""


async def _end_nothing(_: Logs) -> None:
    """See above."""


class Time:
    """What the product takes for the module `time`: the loop's, and a wall clock that may jump."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.skew = 0
        """Microseconds by which the wall clock is wrong."""

    def time_ns(self) -> int:
        """The wall clock."""
        return (BEGAN + self._loop.micros + self.skew) * 1000

    def monotonic_ns(self) -> int:
        """What never jumps."""
        return self._loop.micros * 1000


BEGAN = 1_700_000_000_000_000


def simulate_time(time: Time) -> None:
    """Let the product's one reader of time read this one, and keep no log records."""
    cast("Any", engine_clock).time = time
    cast("Any", Logs).start = _start_nothing
    cast("Any", Logs).close = _end_nothing
    cast("Any", engine_cache).read_template = _read_once


REPLACED: tuple[tuple[object, str], ...] = (
    *((engine_clock, "time"), (engine_cache, "read_template")),
    *((Logs, "start"), (Logs, "close"), (Writer.__init__, "__defaults__")),
)
"""What `simulate_time` puts something else in the place of."""


def overlap(batches: int) -> None:
    """Let so many batches be under way at once, however few commands there are."""
    cast("Any", Writer.__init__).__defaults__ = (((0, batches),),)


@lru_cache(maxsize=1000)
def _read_once(source: bytes, **given: Any) -> Template:
    """Templates never change; reading each anew in every life would take half of the time."""
    return read_template(source, **given)


@dataclass
class Doom:
    """When a life ends: at the so-manieth step, or the so-manieth time at an await point."""

    steps: int
    point: Point | None = None
    times: int = 1


@dataclass
class Faults:
    """How often the disk fails, of a thousand commits; `full` while it is full."""

    per_mille: int = 0
    full: bool = False
    struck: int = 0


class Life(Mortal):
    """`died` is called when the life is over, whichever way."""

    def __init__(
        self,
        loop: SimulatedLoop,
        path: Path,
        chance: Random,
        settings: Settings,
        doom: Doom | None,
        died: Callable[[Life], None],
    ) -> None:
        super().__init__()
        self.loop = loop
        self.chance = chance
        self.faults = Faults()
        self.ready = False
        self.engine: Engine | None = None
        self.wires: dict[Wire, None] = {}
        self.struck_at: list[Point] = []
        self._path = path
        self._settings = settings
        self._doom = doom
        self._died = died
        self._steps = 0
        self._store: SqliteStore | None = None
        self.offset = 0

    def begin(self) -> None:
        """Start the process."""
        self._main = self.loop.within(self, self._open())

    async def _open(self) -> None:
        clock = SystemClock()
        self.offset = clock.now() - BEGAN - self.loop.micros
        self._store = SqliteStore(f"sqlite:///{self._path}", clock.now)
        try:
            self.engine = await Engine.start(self._store, clock, self.chance, self._settings)
        except (OpsCoreError, apsw.Error):
            self.loop.outside(0, self.kill)
            return
        self.ready = True

    # Death

    def doom(self, doom: Doom | None) -> None:
        """When it is to end."""
        self._doom = doom

    def stepped(self, handle: Any) -> None:
        """Count, and die when it is time."""
        doom = self._doom
        if doom is None:
            return
        self._steps += 1
        if self._steps >= doom.steps or (doom.point is not None and self._at(handle, doom)):
            self.kill()

    def _at(self, handle: Any, doom: Doom) -> bool:
        task: Any = getattr(handle._callback, "__self__", None)
        if isinstance(task, asyncio.Future) and doom.point in [*suspended(task)]:
            doom.times -= 1
        return doom.times <= 0

    def kill(self) -> None:
        """`kill -9`: nothing of this process runs any more, what it wrote without a commit is gone."""
        if self.dead:
            return
        self.struck_at = [point for task in [*self.tasks] for point in suspended(task)]
        self.dead = True
        self.ready = False
        if self._store is not None:
            for name in ("_writer", "_reader", "_lock"):
                connection: apsw.Connection | None = getattr(self._store, name)
                if connection is not None:
                    connection.close(True)
        for wire in [*self.wires]:
            wire.cut()
        self._died(self)

    async def stop(self) -> None:
        """SIGTERM: the engine ends in order."""
        if self.engine is not None and not self.dead:
            self.ready = False
            await self.loop.within(self, self.engine.close(0.5))
        self.kill()

    # The disk

    def strike(self, work: Callable[..., object]) -> None:
        """Let a commit fail, as a disk that is full or broken does."""
        if "._commit" not in getattr(work, "__qualname__", ""):
            return
        if self.faults.full or self.chance.random() * 1000 < self.faults.per_mille:
            self.faults.struck += 1
            raise apsw.FullError("database or disk is full")

    # Requests

    def ask(self, work: Callable[[Engine], Awaitable[Any]]) -> asyncio.Task[Any]:
        """Carry out a request in this process."""
        assert self.engine is not None
        return self.loop.within(self, _carried_out(work, self.engine))

    def serve(self, wire: Wire, agent_id: str) -> None:
        """Serve one WebSocket connection of an instance."""
        assert self.engine is not None
        stream = InstanceStream(
            _terms(self.engine), agent_id, WORKER, receive=wire.receive, send=wire.send
        )
        self.wires[wire] = None
        self.loop.within(self, self._served(stream, wire))

    async def _served(self, stream: InstanceStream, wire: Wire) -> None:
        try:
            await stream.run()
        except* Exception as crashed:  # noqa: BLE001 - as `channels/stream.py` does
            if not self.dead:
                wire.crashes.append(repr(crashed.exceptions[0]))
        finally:
            self.wires.pop(wire, None)
            wire.cut()


async def _carried_out(work: Callable[[Engine], Awaitable[Any]], engine: Engine) -> Any:
    return await work(engine)


def _terms(engine: Engine) -> Terms:
    return Terms(
        lifecycle=engine.lifecycle,
        orchestration=engine.orchestration,
        now=engine.store.now,
        describe=lambda error: Problem(
            type="about:blank", title="refused", status=503, detail=str(error), code="unavailable"
        ),
        keep=lambda _: None,
        lease_seconds=engine.settings.lease_seconds,
        silence_seconds=60.0,
        payload_limit=engine.settings.payload_limit,
        depth_limit=64,
    )
