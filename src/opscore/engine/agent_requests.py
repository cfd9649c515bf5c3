"""The commands of the write path that concern agents and their instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from opscore.core import agent as core
from opscore.core import agent_events as ev
from opscore.core import commands as cmd
from opscore.core.agent import Agent
from opscore.core.progress import Refused
from opscore.core.task import Released
from opscore.core.types import SYSTEM, Micros
from opscore.engine.dispatcher import Dispatcher
from opscore.engine.presence import Presence
from opscore.engine.registration import place, taken
from opscore.engine.registry import AgentBatch, Registry
from opscore.engine.requests import Reclaim
from opscore.engine.revisions import Seen, agent_revision, check_seen
from opscore.engine.unit import CancelNotice, Means, Unit, raise_refused
from opscore.store.rows import LeaseRow, Wants

Attempt = tuple[str, int]


@dataclass(slots=True)
class Report:
    """What an agent says of itself. An unknown agent becomes known, provisionally."""

    registry: Registry
    namespace: str
    agent_id: str
    word: str
    details: Mapping[str, Any] | None
    reported_at: str | None
    actor: str
    reason: str
    new_id: Callable[[str], str]
    stored_seq: int = 0
    foreign: bool = False
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing: agents are in memory."""

    def apply(self, unit: Unit) -> Agent:
        """The agent. Raises Conflict when a new one can have no name."""
        batch = self.registry.batch(unit)
        agent = batch.find(self.namespace, self.agent_id)
        events: list[ev.AgentEvent] = []
        if agent is None:
            agent, events = self._provisional(batch)
        known = agent
        for event in events:
            known = core.evolve_agent(known, event, unit.now)
        said = (self.word, self.details, self.reported_at, self.actor, self.reason)
        return batch.record(agent, [*events, core.report(known, *said)])

    def _provisional(self, batch: AgentBatch) -> tuple[Agent, list[ev.AgentEvent]]:
        agent_id, seq, aliases = place(
            batch, self.agent_id, self.new_id("agt_"), self.stored_seq, foreign=self.foreign
        )
        free = batch.may_take(self.namespace, self.agent_id, agent_id)
        name = self.agent_id if free else f"provisional:{self.agent_id}"
        if not batch.may_take(self.namespace, name, agent_id):
            raise taken(name, batch.named(self.namespace, name) or Agent(self.agent_id, ""))
        content = ev.AgentContent(name, "", (), "agentkit", None, 1, {}, {}, {}, aliases)
        agent = Agent(agent_id, self.namespace, seq)
        return agent, core.register(agent, content, self.actor, provisional=True)


@dataclass(slots=True)
class Order:
    """An operator's order: `decide` gives the event, or the refusal."""

    registry: Registry
    namespace: str
    agent_id: str
    decide: Callable[[Agent, Micros], ev.AgentEvent | Refused]
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing: agents are in memory."""

    def apply(self, unit: Unit) -> Agent:
        """The agent. Raises NotFound, or Conflict when the order is illegal."""
        batch = self.registry.batch(unit)
        agent = batch.require(self.namespace, self.agent_id)
        decided = self.decide(agent, unit.now)
        if isinstance(decided, Refused):
            raise_refused(decided)
            return agent
        return batch.record(agent, [decided])


def _release(unit: Unit, agent_id: str, why: str) -> tuple[Attempt, ...]:
    """End all attempts of an agent unharmed, and tell its instances."""
    claimed = [x for x in unit.changes.leases.values() if x.agent_id == agent_id]
    leases = {x.task_id: x for x in (*unit.locked.held_by_agent.get(agent_id, ()), *claimed)}
    return tuple(_released(unit, leases.values(), why))


def _released(unit: Unit, leases: Iterable[LeaseRow], why: str) -> Iterable[Attempt]:
    for lease in leases:
        state = unit.session(lease.session_id)
        if state is None:
            continue
        settle = cmd.Settle(lease.task_id, lease.attempt, Released(why), 0.0)
        if unit.decide(state, settle) is None:
            attempt = (lease.task_id, lease.attempt)
            unit.cancels.append(CancelNotice(lease.instance_id, *attempt, why, 0))
            yield attempt


@dataclass(slots=True)
class Deregister:
    """Remove an agent. What it holds returns to the queue at once."""

    registry: Registry
    namespace: str
    agent_id: str
    actor: str
    reason: str
    seen: Seen = None
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The agent's leases, with their sessions."""
        wants.agents.add(self.agent_id)

    def apply(self, unit: Unit) -> None:
        """Raises NotFound, Outdated."""
        batch = self.registry.batch(unit)
        agent = batch.require(self.namespace, self.agent_id)
        check_seen(self.seen, agent_revision(agent))
        released = _release(unit, agent.agent_id, "its agent was deregistered")
        event = ev.AgentDeregistered(agent.state, released, self.actor, self.reason)
        batch.remove(agent, event)


@dataclass(slots=True)
class EndDrain:
    """The deadline of a drain has passed: what the agent still holds is released."""

    registry: Registry
    agent_id: str
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The agent's leases, with their sessions."""
        wants.agents.add(self.agent_id)

    def apply(self, unit: Unit) -> None:
        """Nothing happens when the order was changed meanwhile."""
        batch = self.registry.batch(unit)
        agent = batch.by_id(self.agent_id)
        if agent is None or agent.drain_deadline is None or agent.drain_deadline > unit.now:
            return
        why = "the deadline of the drain has passed"
        released = _release(unit, agent.agent_id, why)
        batch.record(agent, [ev.AgentDrained(released, str(SYSTEM), why)])


@dataclass(slots=True)
class Arrive:
    """An instance is there. With `holding`, what it does not list returns at once.

    `seat` is called after the commit with the attempts that the instance owns then; `sits`: that
    gives it a seat here, and so at no other server. The implied
    instance of an agent that we call lists nothing: it owns what the agent had accepted, and calls
    that ended with an earlier process return.
    """

    registry: Registry
    presence: Presence
    dispatcher: Dispatcher
    namespace: str
    agent_id: str
    instance_id: str
    max_in_flight: int
    holding: Sequence[Attempt] | None
    seat: Callable[[list[Attempt]], None]
    actor: str
    sits: bool
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The instance's leases, with their sessions."""
        wants.holders.add(self.instance_id)

    def apply(self, unit: Unit) -> list[Attempt]:
        """The stale ones among `holding`.

        Raises NotFound, or Conflict when the instance id is another agent's.
        """
        batch = self.registry.batch(unit)
        agent = batch.require(self.namespace, self.agent_id)
        self.presence.check_room(agent.agent_id, self.instance_id)
        self.dispatcher.check_instance(agent.agent_id, self.instance_id)
        owned, stale = self._owned(unit, agent)
        events = self._events(agent) if agent.connects else []
        if events:
            batch.record(agent, events)
        if self.sits:
            unit.seated.append((agent.agent_id, self.instance_id))
        unit.after.append(lambda: self.seat([x for x in owned if x[0] not in unit.freed]))
        return stale

    def _owned(self, unit: Unit, agent: Agent) -> tuple[list[Attempt], list[Attempt]]:
        mine = (agent.namespace, agent.agent_id)
        held = unit.locked.held.get(self.instance_id, ())
        held = [x for x in held if (x.namespace, x.agent_id) == mine]
        reclaim = partial(Reclaim, *mine, self.instance_id)
        if not agent.connects:
            usual = unit.means.lease
            accepted = [
                (x.task_id, x.attempt)
                for x in held
                if x.until > unit.now + max(usual, x.heartbeat or 0)
            ]
            return reclaim(accepted).apply(unit)
        if self.holding is not None:
            return reclaim(self.holding).apply(unit)
        return [(x.task_id, x.attempt) for x in held], []

    def _events(self, agent: Agent) -> list[ev.AgentEvent]:
        events: list[ev.AgentEvent] = []
        known = self.presence.instance(agent.agent_id, self.instance_id)
        if known is None or not known.online:
            said = (self.instance_id, self.max_in_flight, self.actor, "connected")
            events.append(ev.InstanceConnected(*said))
        first = known is None and not self.presence.online(agent.agent_id)
        changed = core.arrive(agent, self.actor, first=first)
        return [*events, changed] if changed is not None else events


@dataclass(slots=True)
class Depart:
    """An instance is gone, unless it came back meanwhile."""

    registry: Registry
    presence: Presence
    agent_id: str
    instance_id: str
    reason: str
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing: agents are in memory."""

    def apply(self, unit: Unit) -> None:
        """Cannot be refused."""
        batch = self.registry.batch(unit)
        agent = batch.by_id(self.agent_id)
        if agent is None or self.presence.is_online(self.agent_id, self.instance_id):
            return
        if not agent.connects:
            return
        actor = f"agent:{agent.agent_id}"
        batch.record(agent, [ev.InstanceDisconnected(self.instance_id, actor, self.reason)])


@dataclass(slots=True)
class GoOffline:
    """No instance of an agent was seen for too long, unless one came back meanwhile."""

    registry: Registry
    agent_id: str
    absent: Callable[[Agent, Micros], bool]
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing: agents are in memory."""

    def apply(self, unit: Unit) -> None:
        """Cannot be refused."""
        batch = self.registry.batch(unit)
        agent = batch.by_id(self.agent_id)
        if agent is not None and not agent.absent and self.absent(agent, unit.now):
            batch.record(agent, [core.leave(agent)])
