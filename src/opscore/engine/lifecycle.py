"""The verbs of agents: register, report, drain, connect; and what their presence means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opscore.core import agent as core
from opscore.core.agent import Agent
from opscore.core.errors import Invalid
from opscore.core.template import Target
from opscore.core.types import DEFAULT_NAMESPACE, SECOND, SYSTEM, Actor, AgentState, Micros
from opscore.core.why import Taker
from opscore.engine import agent_views as views
from opscore.engine.agent_content import CHANNELS, AgentDetails, checked, checked_changes, plain
from opscore.engine.agent_requests import Deregister, Order, Report
from opscore.engine.audit import Note, ordered
from opscore.engine.bound_sessions import BoundSessions, Sessions
from opscore.engine.connections import Connection, Floor, follow
from opscore.engine.dispatcher import Dispatcher
from opscore.engine.news import News
from opscore.engine.presence import Instance, Presence
from opscore.engine.records import AgentRecord, Paged, StateRecord
from opscore.engine.registration import Patch, Register
from opscore.engine.registry import AgentsChanged, Registry
from opscore.engine.revisions import Seen
from opscore.engine.rollcall import RollCall
from opscore.engine.seats import Receiver
from opscore.engine.unit import Unit
from opscore.engine.writer import Writer
from opscore.store.store import Store

__all__ = ["AgentDetails", "Connection", "Lifecycle", "Receiver", "Sessions"]


class Lifecycle(BoundSessions):
    """Agents and their instances. Call `preload` before the first verb.

    `offline_after` is in microseconds, `payload_limit` in bytes; `new_id` makes ids with a prefix.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        dispatcher: Dispatcher,
        registry: Registry,
        *,
        sessions: Sessions,
        new_id: Callable[[str], str],
        offline_after: Micros = 45 * SECOND,
        payload_limit: int = 262_144,
    ) -> None:
        self._store = store
        self._writer = writer
        self._dispatcher = dispatcher
        super().__init__(registry, sessions)
        self._new_id = new_id
        self._limit = payload_limit
        self.channels: set[str] = {*CHANNELS}
        """The channels with which agents may register; who calls agents adds those that it knows."""
        self._presence = Presence()
        self._floor = Floor(writer, dispatcher, registry, self._presence, store.now)
        self._rollcall = RollCall(self._floor, offline_after)
        registry.watchers.append(self._changed)

    async def preload(self) -> None:
        """Read the agents of the store; they have `offline_after` from now to come back."""
        self._registry.load(await self._store.agents())
        self._rollcall.opened_at = self._store.now()

    def committed(self, unit: Unit) -> None:
        """Follow a commit; the engine calls it beside `Dispatcher.committed`."""
        self._presence.count(unit.changes.leases.values(), unit.freed)

    def followed(self, news: News) -> None:
        """The same, of another server's commit: instances may have gone there."""
        now = self._store.now()
        self._presence.count((), news.freed)
        for agent_id, instance_id in news.seated:
            self._presence.sits_elsewhere(agent_id, instance_id, now)

    def who_is_here(self) -> list[Instance]:
        """The instances that are with this server."""
        return self._presence.here()

    def who_is_elsewhere(self, instances: Iterable[Instance]) -> None:
        """The instances that are with other servers."""
        known = self._registry.by_id
        self._presence.set_elsewhere(i for i in instances if known(i.agent_id) is not None)

    def _changed(self, before: Agent | None, agent: Agent | None) -> None:
        if agent is not None:
            follow(self._dispatcher, agent)
            if before is None:
                self._presence.see(agent.agent_id, self._store.now())
        elif before is not None:
            for seat in self._dispatcher.seats(before.agent_id):
                self._dispatcher.leave(seat)
                seat.receiver.close("the agent was deregistered")
            self._presence.forget(before.agent_id)

    def watch(self, call: AgentsChanged) -> list[Agent]:
        """Let `call` hear of every change (before, after) after its commit; the agents now."""
        self._registry.watchers.append(call)
        return self._registry.agents()

    # -- registration -----------------------------------------------------------------------

    async def register_agent(
        self,
        details: AgentDetails,
        *,
        bound: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> AgentRecord:
        """Register an agent, or update it: found by its id, else by its name.

        The same content again changes nothing. `bound`: the only name that may be registered.
        Raises Invalid, TooLarge, Conflict when the name is another agent's, Forbidden.
        """
        content = checked(details, self._limit, self.channels)
        agent_id = details.agent_id
        stored, foreign = await views.trail(self._store, self._registry, namespace, agent_id)
        command = Register(
            self._registry,
            namespace,
            agent_id,
            self._new_id("agt_"),
            content,
            str(actor),
            stored,
            foreign,
            bound,
        )
        told = {"agentName": content.agent_name, "channel": content.channel}
        note = ordered(actor, "agent.registered", namespace, _registered, **told)
        agent, created = await self._writer.submit(command, note)
        self._presence.registered(agent.agent_id, self._store.now())
        return self._record(agent, created=created)

    async def patch_agent(
        self,
        agent_id: str,
        changes: Mapping[str, Any],
        *,
        seen: Seen = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> AgentRecord:
        """Change what `changes` names: fields of AgentDetails, except the id.

        `seen`: only while it is one of these revisions. Raises NotFound, Outdated, Invalid,
        TooLarge, Conflict.
        """
        agent = self._registry.require(namespace, agent_id)
        given = checked_changes(agent, changes, self._limit, self.channels)
        command = Patch(self._registry, namespace, agent.agent_id, given, str(actor), seen)
        note = ordered(actor, "agent.changed", namespace, agent.agent_id, fields=sorted(changes))
        return self._record(await self._writer.submit(command, note))

    async def deregister(
        self,
        agent_id: str,
        *,
        reason: str = "",
        seen: Seen = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> None:
        """Remove an agent; the attempts that it holds return to the queue.

        `seen`: only while it is one of these revisions. Raises NotFound, Outdated.
        """
        agent = self._registry.find(namespace, agent_id)
        known = agent_id if agent is None else agent.agent_id
        command = Deregister(self._registry, namespace, known, str(actor), reason, seen)
        note = ordered(actor, "agent.deregistered", namespace, known, reason=reason)
        await self._writer.submit(command, note)

    async def get_agent(self, agent_id: str, *, namespace: str = DEFAULT_NAMESPACE) -> AgentRecord:
        """One agent with its instances. Raises NotFound."""
        return self._record(self._registry.require(namespace, agent_id))

    def find_agent(self, agent_id: str, name: str | None, *, namespace: str) -> Agent | None:
        """The agent with this id (or one that it used), else with this name."""
        found = self._registry.find(namespace, agent_id)
        return found or (None if name is None else self._registry.named(namespace, name))

    def _record(self, agent: Agent, *, created: bool = False) -> AgentRecord:
        online = self._online(agent)
        return views.agent_record(agent, self._presence, online=online, created=created)

    def _online(self, agent: Agent) -> bool:
        if agent.connects:
            return self._presence.online(agent.agent_id)
        return agent.state is not AgentState.OFFLINE

    def states(self, namespace: str) -> Counter[str]:
        """How many agents are in each state, as people are shown it."""
        return Counter(self._record(agent).state for agent in self._registry.agents(namespace))

    async def list_agents(
        self,
        *,
        capability: str | None = None,
        state: str | None = None,
        label: str | None = None,
        q: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Paged[AgentRecord]:
        """Agents by name.

        `label` is `key=value` or a key, `q` a part of a name, id or capability; `cursor` is the
        name after which to go on. Raises Invalid for a state that does not exist.
        """
        if state is not None and state not in list(AgentState):
            raise Invalid(f"there is no state {state}; one of {', '.join(AgentState)}")
        named = sorted(self._registry.agents(namespace), key=lambda a: a.agent_name)
        found: list[AgentRecord] = []
        for agent in named:
            after = cursor is None or agent.agent_name > cursor
            if after and views.matches(agent, capability, label, q):
                record = self._record(agent)
                if state in (None, record.state):
                    found.append(record)
            if len(found) > limit:
                break
        page = found[:limit]
        return Paged(page, page[-1].agent_name if len(found) > limit and page else None)

    # -- state ------------------------------------------------------------------------------

    async def set_state(
        self,
        agent_id: str,
        state: str,
        details: Mapping[str, Any] | None = None,
        *,
        reported_at: str | None = None,
        reason: str = "",
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor | None = None,
    ) -> StateRecord:
        """Record what an agent says of itself: any word, always; an unknown agent becomes known.

        Raises Invalid for an empty word or details that are no JSON object, TooLarge.
        """
        if not state.strip() or not agent_id or "\0" in agent_id:
            raise Invalid("a report names an agent and a state")
        said = plain(details, "details", self._limit) if details is not None else None
        stored, foreign = await views.trail(self._store, self._registry, namespace, agent_id)
        who = str(actor or Actor("agent", agent_id))
        words = (state, said, reported_at, who, reason)
        command = Report(self._registry, namespace, agent_id, *words, self._new_id, stored, foreign)
        agent = await self._writer.submit(command)
        self._presence.see(agent.agent_id, self._store.now())
        return self._state(agent)

    def _state(self, agent: Agent) -> StateRecord:
        return views.current_state(agent, self._presence.in_flight(agent.agent_id))

    async def get_state(self, agent_id: str, *, namespace: str = DEFAULT_NAMESPACE) -> StateRecord:
        """The state now, and who changed it last. Raises NotFound."""
        return self._state(self._registry.require(namespace, agent_id))

    async def state_history(
        self,
        agent_id: str,
        *,
        cursor: str | None = None,
        limit: int = 100,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Paged[StateRecord]:
        """All changes of state, oldest first; `cursor` is the number of the last event seen.

        Raises NotFound, Invalid.
        """
        agent = self._registry.require(namespace, agent_id)
        if cursor is not None and not cursor.isdecimal():
            raise Invalid(f"{cursor!r} is no cursor of a history")
        return await views.read_history(self._store, agent.agent_id, int(cursor or 0), limit)

    async def drain(
        self,
        agent_id: str,
        *,
        deadline_seconds: float | None = None,
        reason: str = "",
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> StateRecord:
        """Let an agent take no more work; what it holds at the deadline is released.

        Raises NotFound, Invalid for a negative deadline.
        """
        if deadline_seconds is not None and not 0 <= deadline_seconds <= 86_400 * 365:
            raise Invalid("deadline_seconds must be between 0 and a year")
        wait = None if deadline_seconds is None else round(deadline_seconds * SECOND)
        return await self._order(
            namespace,
            agent_id,
            lambda agent, now: core.drain(
                agent, None if wait is None else now + wait, str(actor), reason
            ),
            ordered(actor, "agent.drained", namespace, _ordered, reason=reason),
        )

    async def activate(
        self,
        agent_id: str,
        *,
        reason: str = "",
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> StateRecord:
        """Let an agent take work again. Raises NotFound, Conflict when nothing holds it back."""
        return await self._order(
            namespace,
            agent_id,
            lambda agent, _: core.activate(agent, str(actor), reason),
            ordered(actor, "agent.activated", namespace, _ordered, reason=reason),
        )

    async def _order(
        self,
        namespace: str,
        agent_id: str,
        decide: Callable[[Agent, Micros], Any],
        note: Note | None,
    ) -> StateRecord:
        command = Order(self._registry, namespace, agent_id, decide)
        return self._state(await self._writer.submit(command, note))

    # -- presence ---------------------------------------------------------------------------

    async def heartbeat(
        self,
        agent_id: str,
        instance_id: str,
        attempts: Sequence[tuple[str, int]] = (),
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor | None = None,
    ) -> list[tuple[str, int]]:
        """An instance is alive and still works on `attempts`: extends their leases.

        Answers those that are not its own any more. Raises NotFound, Conflict.
        """
        agent = self._registry.require(namespace, agent_id)
        who = str(actor or Actor("agent", agent.agent_id))
        return await self._rollcall.heartbeat(agent, instance_id, attempts, who)

    async def sweep_presence(self, now: Micros, *, leads: bool = True) -> None:
        """Write down who was not seen for too long, and end drains that are due. Once a second.

        `leads` False: only which of this server's own instances are gone.
        """
        await self._rollcall.sweep(now, leads=leads)

    def takers(self, namespace: str, target: Target) -> list[Taker]:
        """Who could take a task for this target, and whether each may be given one now."""
        return self._rollcall.takers(namespace, target)

    async def connect(
        self,
        agent_id: str,
        *,
        instance_id: str,
        max_in_flight: int,
        holding: Sequence[tuple[str, int]] | None,
        receiver: Receiver,
        polling: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Connection:
        """Seat an instance. With `holding`, what it owns and does not list returns at once.

        `polling`: it will leave and come again, so leaving is no sign. Raises NotFound, Conflict.
        """
        agent = self._registry.require(namespace, agent_id)
        connection = Connection(
            self._floor, agent, instance_id, max_in_flight, receiver, polling=polling
        )
        await connection.open(holding)
        return connection


def _registered(answer: tuple[Agent, bool]) -> str:
    """The agent that `Register` answers."""
    return answer[0].agent_id


def _ordered(agent: Agent) -> str:
    """The agent that `Order` answers."""
    return agent.agent_id
