"""The life of an engine: opens a store, starts the loops, and stops them in order."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self

import structlog

from opscore.core.errors import OpsCoreError
from opscore.core.push import ACCEPTED
from opscore.engine.audit_trail import CHECKPOINT_SECONDS
from opscore.engine.clock import Clock, SystemClock, every
from opscore.engine.exporting import FLUSH_SECONDS
from opscore.engine.others import ANNOUNCE_SECONDS
from opscore.engine.repeats import FORGET_SECONDS
from opscore.engine.rooms import Rooms
from opscore.engine.settings import Settings
from opscore.outgoing.signing import Signing
from opscore.store.opening import store_of
from opscore.store.store import Store

PRESENCE_SECONDS = 1.0
KEY_USES_SECONDS = 60.0
TAKE_OVER_SECONDS = 1.0

log = structlog.get_logger("opscore.engine")


class _Stopped(Exception):
    """Ends the task group, and with it every loop and everything spawned."""


class Engine(Rooms):
    """Everything that runs in one process over one store.

    `lifecycle`, `orchestration`, `debugging`, `keys` and `audit` are the verbs, `feed` and `hooks` tell what
    happens. Made by `Engine.open`; closed by `close`, or by leaving `async with`.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        chance: random.Random,
        settings: Settings,
        signing: Signing,
    ) -> None:
        super().__init__(store, clock, chance, settings, signing)
        self._group: asyncio.TaskGroup | None = None
        self._spawned: set[asyncio.Task[Any]] = set()
        self._cycles: set[asyncio.Task[Any]] = set()
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    @classmethod
    async def open(
        cls,
        url: str = "sqlite:///ops.db",
        *,
        clock: Clock | None = None,
        chance: random.Random | None = None,
        settings: Settings | None = None,
    ) -> Engine:
        """Open the store and start working.

        `url`: `sqlite:///FILE`, `sqlite:///:memory:`, or `postgresql://…` of a database that other
        servers may use too. `clock`: by which all deadlines are judged; None: by the store's own.
        Raises StoreRefused with what to do.
        """
        store = store_of(url, clock.now if clock is not None else None)
        return await cls.start(
            store, clock or SystemClock(), chance or random.Random(), settings or Settings()
        )

    @classmethod
    async def start(
        cls, store: Store, clock: Clock, chance: random.Random, settings: Settings
    ) -> Engine:
        """Open a given store and start working; the engine closes it in the end."""
        await store.open()
        try:
            root = await store.keep_secret("signing", secrets.token_hex(32))
            engine = cls(store, clock, chance, settings, Signing(bytes.fromhex(root)))
            try:
                await engine._start()
            except BaseException:
                await engine.logs.close()
                raise
        except BaseException:
            await store.close()
            raise
        return engine

    async def _start(self) -> None:
        self.logs.start()
        await self._writer.turns.begin()
        await self._load()
        await self._writer.turns.end()
        started = asyncio.Event()
        self._running = asyncio.get_running_loop().create_task(self._run(started))
        await started.wait()
        self._dispatcher.wake(set(await self.store.queues()))
        await self.audit.tend()

    async def _load(self) -> None:
        """Know what the store has; nobody else commits meanwhile."""
        for row in await self.store.templates():
            self._templates.add(row)
        if self.others is not None:
            await self.others.announce()
        if self.others is None or not self.others.servers:
            # Attempts in flight get a whole lease from now: that nobody could be heard while no
            # server ran is not their agents' fault, and no clock that was set forward keeps them
            # for long.
            await self.store.renew_leases(self.store.now(), self.settings.lease, ACCEPTED)
        await self.following.preload()
        self._writer.gates.load(await self.store.gates())
        await self.lifecycle.preload()
        await self.keys.load()
        await self._relay.load()
        await self.callbacks.load()
        self._schedules.load(await self.store.schedules())

    async def _run(self, started: asyncio.Event) -> None:
        """All loops in one task group; ends when told to, or when one of them breaks."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                writing = group.create_task(self._writer.run())
                for loop in (
                    *self._with_others(),
                    self._dispatcher.run(),
                    self._sweeper.run(),
                    self._relay.run(),
                    self.callbacks.run(),
                    self.hooks.run(),
                    every(self._clock, PRESENCE_SECONDS, self._sweep_presence),
                    every(self._clock, FORGET_SECONDS, self._forget_requests),
                    every(self._clock, KEY_USES_SECONDS, self.keys.write_uses),
                    every(self._clock, CHECKPOINT_SECONDS, self.audit.tend),
                ):
                    group.create_task(loop)
                if self.exporting is not None:
                    group.create_task(self.exporting.run())
                started.set()
                await self._stop.wait()
                self._writer.close()
                await asyncio.wait({writing})
                raise _Stopped
        except* _Stopped:
            log.debug("engine_stopped")
        except* Exception as error:
            self._failure = error
            log.critical("engine_broke", exc_info=error)

    def _with_others(self) -> Iterable[Coroutine[Any, Any, None]]:
        """The loops of a server that is not alone."""
        if self.others is not None:
            yield self.others.run()
            yield self._tell_of_others()
            yield every(self._clock, ANNOUNCE_SECONDS, self.others.announce)
            yield every(self._clock, TAKE_OVER_SECONDS, self._take_over)

    async def _tell_of_others(self) -> None:
        """Pass on the events of other servers' commits to who follows them here."""
        while True:
            try:
                await self.feed.tell_others(self.store.happened)
            except OpsCoreError as error:
                log.warning("events_of_others_not_read", error=str(error))
                await self._clock.sleep(1)

    async def _take_over(self) -> None:
        if self.leads:
            await self._relay.take_over()

    async def catch_up(self) -> None:
        """Know whatever any server of the store committed before this call. Raises Unavailable."""
        if self.others is not None and not self._writer.turns.held:
            await self.others.catch_up()

    async def _sweep_presence(self) -> None:
        self._dispatcher.nudge()
        try:
            await self.lifecycle.sweep_presence(self.store.now(), leads=self.leads)
        except OpsCoreError as error:
            log.error("presence_sweep_failed", error=str(error))

    async def _forget_requests(self) -> None:
        if not self.leads:
            return
        try:
            await self.repeats.forget_old()
        except OpsCoreError as error:
            log.error("forgetting_requests_failed", error=str(error))

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in the engine's own task group; it must see to its own errors.

        Stopping waits for it, before the last commit.
        """
        return self._begin(work, self._spawned)

    def _begin(
        self, work: Coroutine[Any, Any, Any], among: set[asyncio.Task[Any]]
    ) -> asyncio.Task[Any]:
        assert self._group is not None, "the engine is not running"
        task = self._group.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        return task

    def every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> asyncio.Task[Any]:
        """Do `work` again and again for as long as the engine runs, or the task is cancelled."""
        return self._begin(every(self._clock, seconds, work), self._cycles)

    def ready(self) -> list[str]:
        """Reasons why this engine should not be given work; empty when it should."""
        reasons: list[str] = []
        if self._failure is not None:
            reasons.append(f"a loop of the engine broke: {self._failure}")
        if self.others is not None and self.others.problem is not None:
            reasons.append(f"what other servers commit cannot be read: {self.others.problem}")
        if self._stop.is_set():
            reasons.append("the engine is stopping")
        return reasons

    async def close(self, drain_seconds: float = 10.0) -> None:
        """Stop: no new work, running local functions may finish, what was accepted is committed.

        Attempts of agents elsewhere stay theirs: they settle when a server is back. Idempotent.
        """
        if self._running is None:
            return
        running, self._running = self._running, None
        await self._dispatcher.stop(self._clock, drain_seconds)
        for cycle in self._cycles:
            cycle.cancel()
        while self._spawned:
            await asyncio.wait(self._spawned)
        await self.keys.write_uses()
        if self.exporting is not None:
            await self.exporting.flush(min(drain_seconds, FLUSH_SECONDS))
        self.feed.close()
        self.hooks.close()
        self._stop.set()
        await asyncio.wait({running})
        await self.audit.tend(closing=True)
        await self.outgoing.close()
        if self.exporting is not None:
            await self.exporting.release()
        await self.logs.close()
        await self.store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
