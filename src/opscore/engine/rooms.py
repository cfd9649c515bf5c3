"""What an engine consists of: its rooms, put together over one store."""

from __future__ import annotations

import random
import secrets

from opscore.core.agent import Agent
from opscore.core.lint import Findings
from opscore.core.template import Template
from opscore.core.types import Micros
from opscore.engine.audit_trail import AuditTrail
from opscore.engine.bindings import Bindings
from opscore.engine.cache import SessionCache, TemplateCache
from opscore.engine.callbacks import Callbacks
from opscore.engine.clock import Clock
from opscore.engine.debugging import Debugging
from opscore.engine.dispatcher import Dispatcher
from opscore.engine.explanations import Explanations
from opscore.engine.exporting import Exporting
from opscore.engine.feed import Feed
from opscore.engine.following import Following
from opscore.engine.gauges import Reading, gauges_of
from opscore.engine.hooks import Hooks
from opscore.engine.ids import Ids
from opscore.engine.keys import Keys
from opscore.engine.lifecycle import Lifecycle
from opscore.engine.limits_followed import follow_limits
from opscore.engine.logs import Logs
from opscore.engine.measuring import Measuring
from opscore.engine.news import News
from opscore.engine.operation_log import OperationLog
from opscore.engine.orchestration import Orchestration
from opscore.engine.others import Others
from opscore.engine.registry import Registry
from opscore.engine.relay import Relay
from opscore.engine.repeats import Repeats
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
from opscore.store.opening import logs_beside
from opscore.store.shared import Told
from opscore.store.store import Store
from opscore.telemetry.measures import Measures

SECRET_BYTES = 32


def _means(templates: TemplateCache, settings: Settings) -> Means:
    return Means(
        SessionCache(),
        templates,
        CelExpressions(),
        settings.payload_limit,
        settings.lease,
        template_env=settings.template_env,
    )


class Rooms:
    """Everything that works over one store in one process; `Engine` gives it life.

    `lifecycle`, `orchestration`, `debugging`, `keys` and `audit` are the verbs, `feed` and `hooks` tell what
    happens.
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
        self._means = means = _means(templates, settings)
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
        log_file = LogFile(logs_beside(store.url), f"{id(store):x}")
        self.logs = Logs(log_file, store.now, settings.log_retention)
        self._operations = OperationLog(self.logs.put, registry)
        self.shipping = Shipping(self.logs.put, registry, self.logs.has_room)
        self._registry = registry
        self.exporting = self._new_exporting(chance)
        self.debugging = self._debugging()
        self._relay = Relay(store, self._writer, clock, chance.random)
        self._sweeper = self._new_sweeper(chance)
        self.others = self._others()
        if self.others is not None:
            self._writer.turns.follow = self.others.follow

    def _others(self) -> Others | None:
        if self.store.shared is None:
            return None
        lives = self.lifecycle
        return Others(
            self.store.shared,
            self._clock,
            self._followed,
            lives.who_is_here,
            lives.who_is_elsewhere,
        )

    @property
    def leads(self) -> bool:
        """Whether this server does what one server of a store is enough for."""
        return self.store.shared is None or self.store.shared.leads

    def _debugging(self) -> Debugging:
        traces = Traces(self.store, self._views, self._registry, self.logs)
        return Debugging(
            self.store, self._writer, self.orchestration, self._explanations(), traces, self.logs
        )

    def _new_exporting(self, chance: random.Random) -> Exporting | None:
        if self.settings.export is None:
            return None
        return Exporting(
            self.settings.export,
            self.store,
            self._clock,
            self.measures,
            self._registry.name_of,
            chance.random,
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
            lambda: self.leads,
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
            lambda: self.leads,
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

    async def _seen(self, agent: Agent, instance_id: str) -> None:
        await self.lifecycle.heartbeat(agent.agent_id, instance_id, namespace=agent.namespace)

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

    def _followed(self, news: News, told: Told) -> None:
        """What follows a commit of another server, as `_committed` follows one of ours."""
        means = self._means
        for session_id, seq in news.sessions.items():
            means.sessions.fall_behind(session_id, seq)
        for session_id in (*news.deleted, *news.ended):
            means.sessions.evict(session_id)
        for template in news.templates:
            self._templates.add(template)
        for key in news.keys:
            self.keys.ring.take_over(key)
        self._registry.take_over(news.agents, news.agents_gone)
        follow_limits(means.gates, news)
        self.repeats.followed(news.requests)
        self._dispatcher.followed(news, self.store.now())
        self.lifecycle.followed(news)
        self.orchestration.followed(news)
        self._sweeper.followed(news)
        self._relay.followed(news)
        self.callbacks.followed(news)
        self.feed.followed(told.last)

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
        if self.exporting is not None:
            self.exporting.committed(unit)
        self.feed.published(unit, first_position)
        self.hooks.committed(unit, first_position)
