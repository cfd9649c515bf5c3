"""The composition root: opens a store, starts the loops, and stops them in order."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import structlog

from opscore.core.agent import Agent
from opscore.core.errors import OpsCoreError
from opscore.core.lint import Findings
from opscore.core.push import ACCEPTED
from opscore.core.template import Template
from opscore.core.types import Micros
from opscore.engine.audit_trail import CHECKPOINT_SECONDS, AuditTrail
from opscore.engine.bindings import Bindings
from opscore.engine.cache import SessionCache, TemplateCache
from opscore.engine.callbacks import Callbacks
from opscore.engine.clock import Clock, SystemClock, every
from opscore.engine.debugging import Debugging
from opscore.engine.dispatcher import Dispatcher
from opscore.engine.explanations import Explanations
from opscore.engine.feed import Feed
from opscore.engine.following import Following
from opscore.engine.gauges import Reading, gauges_of
from opscore.engine.hooks import Hooks
from opscore.engine.ids import Ids
from opscore.engine.keys import Keys
from opscore.engine.lifecycle import Lifecycle
from opscore.engine.logs import Logs
from opscore.engine.measuring import Measuring
from opscore.engine.operation_log import OperationLog
from opscore.engine.orchestration import Orchestration
from opscore.engine.registry import Registry
from opscore.engine.relay import Relay
from opscore.engine.repeats import FORGET_SECONDS, Repeats
from opscore.engine.review import review
from opscore.engine.schedules import ScheduleBook
from opscore.engine.settings import Settings
from opscore.engine.shipping import Shipping
from opscore.engine.sweeper import Sweeper
from opscore.engine.tools import Tools
from opscore.engine.traces import Traces
from opscore.engine.unit import Means, Unit
from opscore.engine.views import Views
from opscore.engine.writer import Writer
from opscore.expressions import CelExpressions
from opscore.outgoing.request import Outgoing
from opscore.outgoing.signing import Signing
from opscore.store.log_file import LogFile
from opscore.store.sqlite import SqliteStore
from opscore.store.store import Store
from opscore.telemetry.measures import Measures

PRESENCE_SECONDS = 1.0
KEY_USES_SECONDS = 60.0
SECRET_BYTES = 32

log = structlog.get_logger("opscore.engine")


class _Stopped(Exception):
    """Ends the task group, and with it every loop and everything spawned."""


def _means(templates: TemplateCache, settings: Settings) -> Means:
    return Means(
        SessionCache(),
        templates,
        CelExpressions(),
        settings.payload_limit,
        settings.lease,
        template_env=settings.template_env,
    )


class Engine:
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
        ids = Ids(clock, chance)
        templates = TemplateCache()
        means = _means(templates, settings)
        registry = Registry()
        self.settings, self.store = settings, store
        self.outgoing = Outgoing(settings.outgoing)
        self.signing = signing
        self.feed, self.hooks = Feed(), Hooks()
        self.following, self._schedules = Following(store, self.feed), ScheduleBook()
        self.clock = self._clock = clock
        self._templates = templates
        self._views = Views(store, templates)
        self._writer = Writer(store, means, self._committed)
        self._measuring = Measuring(store.now)
        self.repeats = Repeats(store, self._writer)
        self.audit = AuditTrail(store, self._writer, self.outgoing, settings.audit_checkpoint)
        self._dispatcher = Dispatcher(self._writer, chance.random)
        self.callbacks = self._callbacks(chance)
        self.orchestration = Orchestration(self._tools(ids, chance, registry))
        self.lifecycle = self._new_lifecycle(ids, registry)
        self.bindings = Bindings(registry)
        self.keys = Keys(store, self._writer, ids.new, lambda: secrets.token_hex(SECRET_BYTES))
        log_file = LogFile(store.url, f"{id(store):x}")
        self.logs = Logs(log_file, store.now, settings.log_retention)
        self._operations = OperationLog(self.logs.put, registry)
        self.shipping = Shipping(self.logs.put, registry)
        self._registry = registry
        self.debugging = self._debugging()
        self._relay = Relay(store, self._writer, clock, ids, chance.random)
        self._sweeper = self._new_sweeper(chance)
        self._group: asyncio.TaskGroup | None = None
        self._spawned: set[asyncio.Task[Any]] = set()
        self._cycles: set[asyncio.Task[Any]] = set()
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    def _debugging(self) -> Debugging:
        traces = Traces(self.store, self._views, self._registry)
        return Debugging(
            self.store, self._writer, self.orchestration, self._explanations(), traces, self.logs
        )

    def _callbacks(self, chance: random.Random) -> Callbacks:
        return Callbacks(
            self.store,
            self._writer,
            Views(self.store, self._templates),
            self._clock,
            self.outgoing,
            self.signing,
            chance.random,
        )

    def _new_lifecycle(self, ids: Ids, registry: Registry) -> Lifecycle:
        return Lifecycle(
            self.store,
            self._writer,
            self._dispatcher,
            registry,
            sessions=self.orchestration,
            new_id=ids.new,
            offline_after=self.settings.offline_after,
            payload_limit=self.settings.payload_limit,
        )

    def _new_sweeper(self, chance: random.Random) -> Sweeper:
        return Sweeper(
            self.store,
            self._writer,
            self._clock,
            chance.random,
            self.lifecycle.takers,
            self._schedules,
            self.orchestration.fire,
        )

    def _explanations(self) -> Explanations:
        gates = self._writer.gates
        return Explanations(self.store, self._views, self._templates, self.lifecycle.takers, gates)

    def _tools(self, ids: Ids, chance: random.Random, registry: Registry) -> Tools:
        return Tools(
            writer=self._writer,
            views=self._views,
            templates=self._templates,
            dispatcher=self._dispatcher,
            schedules=self._schedules,
            clock=self._clock,
            ids=ids,
            settings=self.settings,
            now=self.store.now,
            chance=chance.random,
            find_agent=registry.require,
            seen=self._seen,
            check_callback=self.callbacks.check,
        )

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

        `url`: `sqlite:///FILE` or `sqlite:///:memory:`. Raises StoreRefused with what to do.
        """
        clock = clock or SystemClock()
        store = SqliteStore(url, clock.now)
        return await cls.start(store, clock, chance or random.Random(), settings or Settings())

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
        for row in await self.store.templates():
            self._templates.add(row)
        # Attempts in flight get a whole lease from now: that nobody could be heard while no server
        # ran is not their agents' fault, and no clock that was set forward keeps them for long.
        await self.store.renew_leases(self.store.now(), self.settings.lease, ACCEPTED)
        await self.following.preload()
        self._writer.gates.load(await self.store.gates())
        await self.lifecycle.preload()
        await self.keys.load()
        await self._relay.load()
        await self.callbacks.load()
        self._schedules.load(await self.store.schedules())
        started = asyncio.Event()
        self._running = asyncio.get_running_loop().create_task(self._run(started))
        await started.wait()
        self._dispatcher.wake(set(await self.store.queues()))
        await self.audit.tend()

    async def _run(self, started: asyncio.Event) -> None:
        """All loops in one task group; ends when told to, or when one of them breaks."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                writing = group.create_task(self._writer.run())
                for loop in (
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

    async def _seen(self, agent: Agent, instance_id: str) -> None:
        await self.lifecycle.heartbeat(agent.agent_id, instance_id, namespace=agent.namespace)

    async def _sweep_presence(self) -> None:
        self._dispatcher.nudge()
        try:
            await self.lifecycle.sweep_presence(self.store.now())
        except OpsCoreError as error:
            log.error("presence_sweep_failed", error=str(error))

    async def _forget_requests(self) -> None:
        try:
            await self.repeats.forget_old()
        except OpsCoreError as error:
            log.error("forgetting_requests_failed", error=str(error))

    def review(self, template: Template, namespace: str) -> Findings:
        """What a template asks of the registered agents that they cannot do."""
        return review(template, self._registry, namespace)

    @property
    def limit_opens_at(self) -> Micros | None:
        """When a rate opens next for somebody who waits for it."""
        return self._writer.gates.next_at

    @property
    def measures(self) -> Measures:
        """What was counted and timed since the engine was opened."""
        return self._measuring.measures

    async def gauges(self, namespace: str) -> Reading:
        """What is the case in a namespace now."""
        work = await self.store.workload(namespace)
        return gauges_of(namespace, work, self.lifecycle.states(namespace), self.store.now())

    @property
    def commits_failed(self) -> int:
        """Batches that the store refused since the engine was opened."""
        return self._writer.failures

    @property
    def heartbeat_seconds(self) -> float:
        """How often an agent should give a sign of life."""
        return self.settings.heartbeat_seconds

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

    def _committed(self, unit: Unit, first_position: int) -> None:
        """What follows every commit, in this order: slots and cancels first, then who watches."""
        self._dispatcher.committed(unit)
        self._measuring.committed(unit)
        self.lifecycle.committed(unit)
        self.orchestration.committed(unit)
        self._sweeper.committed(unit)
        self._relay.committed(unit)
        self.callbacks.committed(unit)
        self._operations.committed(unit)
        self.feed.published(unit, first_position)
        self.hooks.committed(unit, first_position)

    def ready(self) -> list[str]:
        """Reasons why this engine should not be given work; empty when it should."""
        reasons: list[str] = []
        if self._failure is not None:
            reasons.append(f"a loop of the engine broke: {self._failure}")
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
        self.feed.close()
        self.hooks.close()
        self._stop.set()
        await asyncio.wait({running})
        await self.audit.tend(closing=True)
        await self.outgoing.close()
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
