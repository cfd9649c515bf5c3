"""The agents of a store, in memory; a batch of the write path sees its own changes first.

What a batch stages is merged only after its commit, so a failed batch leaves everything as it was.
A batch is decided while the one before it is being committed, so it sees that one's changes too;
when that one fails, both do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from opscore.core.agent import Agent, evolve_agent
from opscore.core.agent_events import AgentDeregistered, AgentEvent
from opscore.core.errors import NotFound
from opscore.engine.journal import encode
from opscore.engine.unit import Unit
from opscore.store.rows import AgentEventRow, AgentRow

_decode = msgspec.json.Decoder(Agent).decode
_encode = msgspec.json.Encoder().encode

AgentsChanged = Callable[[Agent | None, Agent | None], None]


def no_agent(agent_id: str) -> NotFound:
    """The refusal for an id that names no agent of the namespace."""
    return NotFound(f"there is no agent {agent_id}")


class Registry:
    """All agents, by id, name and alias. Each of `watchers` hears of each (before, after) once committed."""

    def __init__(self) -> None:
        self.watchers: list[AgentsChanged] = []
        self._agents: dict[str, Agent] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self._ended: dict[str, int] = {}
        self._committing: list[AgentBatch] = []

    def load(self, rows: Iterable[AgentRow]) -> None:
        """Know the agents that the store has."""
        for row in rows:
            self._put(_decode(row.data))

    def by_id(self, agent_id: str) -> Agent | None:
        """The agent with this id, whatever its namespace; aliases do not count."""
        return self._agents.get(agent_id)

    def name_of(self, agent_id: str) -> str | None:
        """The name of an agent; None when nobody knows it any more."""
        agent = self.by_id(agent_id)
        return None if agent is None else agent.agent_name

    def find(self, namespace: str, agent_id: str) -> Agent | None:
        """The agent with this id or alias in the namespace."""
        agent = self._agents.get(self._aliases.get((namespace, agent_id), agent_id))
        return agent if agent is not None and agent.namespace == namespace else None

    def require(self, namespace: str, agent_id: str) -> Agent:
        """As `find`; raises NotFound."""
        agent = self.find(namespace, agent_id)
        if agent is None:
            raise no_agent(agent_id)
        return agent

    def named(self, namespace: str, name: str) -> Agent | None:
        """The agent with this name."""
        return self._agents.get(self._names.get((namespace, name), ""))

    def agents(self, namespace: str | None = None) -> list[Agent]:
        """All agents, or those of a namespace."""
        return [a for a in self._agents.values() if namespace in (None, a.namespace)]

    def capable(self, namespace: str, capability: str) -> list[Agent]:
        """The agents that offer a capability."""
        return [a for a in self.agents(namespace) if capability in a.capabilities]

    def last_seq(self, agent_id: str) -> int | None:
        """Where the journal of an agent, present or gone since the start, ends; None: not known."""
        agent = self._agents.get(agent_id)
        return agent.seq if agent is not None else self._ended.get(agent_id)

    def batch(self, unit: Unit) -> AgentBatch:
        """The agents as this batch has them so far."""
        found = unit.kept.get(self)
        if found is None:
            found = unit.kept[self] = AgentBatch(self, unit, self._committing)
            self._committing.append(found)
            unit.after.append(found.merge)
            unit.undone.append(found.drop)
        return cast(AgentBatch, found)

    def end(self, batch: AgentBatch) -> None:
        """A batch was committed, or failed."""
        self._committing = [each for each in self._committing if each is not batch]

    def merge(self, agent_id: str, agent: Agent | None, seq: int) -> None:
        """Take over what was committed; `agent` None: it is gone, and its journal ends at `seq`."""
        before = self._agents.get(agent_id)
        if before is not None:
            self._remove(before)
        if agent is None:
            self._ended[agent_id] = seq
        else:
            self._put(agent)
        for watcher in self.watchers:
            watcher(before, agent)

    def take_over(self, rows: Iterable[AgentRow], gone: Mapping[str, int]) -> None:
        """What another server committed; `gone`: where the journals of removed agents end."""
        for agent_id, seq in gone.items():
            if agent_id in self._agents:
                self.merge(agent_id, None, seq)
            else:
                self._ended[agent_id] = seq
        for row in rows:
            agent = _decode(row.data)
            self.merge(agent.agent_id, agent, agent.seq)

    def _put(self, agent: Agent) -> None:
        self._agents[agent.agent_id] = agent
        self._names[agent.namespace, agent.agent_name] = agent.agent_id
        for alias in agent.aliases:
            self._aliases[agent.namespace, alias] = agent.agent_id

    def _remove(self, agent: Agent) -> None:
        del self._agents[agent.agent_id]
        if self._names.get((agent.namespace, agent.agent_name)) == agent.agent_id:
            del self._names[agent.namespace, agent.agent_name]
        for alias in agent.aliases:
            if self._aliases.get((agent.namespace, alias)) == agent.agent_id:
                del self._aliases[agent.namespace, alias]


class AgentBatch:
    """One batch's view of the registry.

    What it staged lies over what earlier batches are committing, and that over what is committed.
    """

    def __init__(self, registry: Registry, unit: Unit, earlier: Iterable[AgentBatch]) -> None:
        self._registry = registry
        self._unit = unit
        self._before: dict[str, Agent | None] = {}
        self.seqs: dict[str, int] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.aliases: dict[tuple[str, str], str] = {}
        for batch in earlier:
            self._before.update(batch.staged)
            self.seqs.update(batch.seqs)
            self.names.update(batch.names)
            self.aliases.update(batch.aliases)
        self._now = dict(self._before)
        self.staged: dict[str, Agent | None] = {}

    def by_id(self, agent_id: str) -> Agent | None:
        """See `Registry.by_id`."""
        return self._now[agent_id] if agent_id in self._now else self._registry.by_id(agent_id)

    def find(self, namespace: str, agent_id: str) -> Agent | None:
        """See `Registry.find`."""
        agent = self.by_id(agent_id)
        if agent is None:
            alias_of = self.aliases.get((namespace, agent_id))
            agent = self._now.get(alias_of) if alias_of is not None else None
        if agent is None:
            known = self._registry.find(namespace, agent_id)
            agent = self.by_id(known.agent_id) if known is not None else None
        return agent if agent is not None and agent.namespace == namespace else None

    def require(self, namespace: str, agent_id: str) -> Agent:
        """See `Registry.require`."""
        agent = self.find(namespace, agent_id)
        if agent is None:
            raise no_agent(agent_id)
        return agent

    def named(self, namespace: str, name: str) -> Agent | None:
        """See `Registry.named`."""
        return self._named(namespace, name, self._now)

    def _named(self, namespace: str, name: str, over: Mapping[str, Agent | None]) -> Agent | None:
        staged = over.get(self.names.get((namespace, name), ""))
        if staged is not None and staged.agent_name == name:
            return staged
        agent = self._registry.named(namespace, name)
        return None if agent is None or agent.agent_id in over else agent

    def may_take(self, namespace: str, name: str, agent_id: str) -> bool:
        """Whether an agent may have this name.

        One that another agent gives up in this very batch is not free yet, unless that agent is
        removed: the rows of a commit are written in no order, but removals come first.
        """
        before = self._named(namespace, name, self._before)
        if before is not None and self.by_id(before.agent_id) is None:
            before = None
        holders = (before, self.named(namespace, name))
        return all(each is None or each.agent_id == agent_id for each in holders)

    def last_seq(self, agent_id: str, stored: int) -> int:
        """Where a journal ends, as far as this batch knows; else what was read from the store."""
        known = self.seqs.get(agent_id)
        if known is None:
            known = self._registry.last_seq(agent_id)
        return max(stored, known or 0)

    def record(self, agent: Agent, events: Iterable[AgentEvent]) -> Agent:
        """Write facts down; the agent after them."""
        changes, now = self._unit.changes, self._unit.now
        for event in events:
            agent = evolve_agent(agent, event, now)
            self._append(agent, event)
        changes.agents_gone.discard(agent.agent_id)
        changes.agents.pop(agent.agent_id, None)
        changes.agents[agent.agent_id] = AgentRow(
            agent.agent_id, agent.namespace, agent.agent_name, _encode(agent)
        )
        self._stage(agent.agent_id, agent, agent.seq)
        return agent

    def remove(self, agent: Agent, event: AgentDeregistered) -> None:
        """Write down that the agent is gone."""
        changes = self._unit.changes
        gone = evolve_agent(agent, event, self._unit.now)
        self._append(gone, event)
        changes.agents.pop(agent.agent_id, None)
        changes.agents_gone.add(agent.agent_id)
        self._stage(agent.agent_id, None, gone.seq)

    def merge(self) -> None:
        """After the commit."""
        gone_first = sorted(self.staged.items(), key=lambda pair: pair[1] is not None)
        self._registry.end(self)
        for agent_id, agent in gone_first:
            self._registry.merge(agent_id, agent, self.seqs[agent_id])

    def drop(self) -> None:
        """The commit failed."""
        self._registry.end(self)

    def _append(self, agent: Agent, event: Any) -> None:
        self._unit.changes.agent_events.append(
            AgentEventRow(
                agent.namespace,
                agent.agent_id,
                agent.seq,
                self._unit.now,
                event.TYPE,
                event.VERSION,
                encode(event),
            )
        )

    def _stage(self, agent_id: str, agent: Agent | None, seq: int) -> None:
        self.staged[agent_id] = self._now[agent_id] = agent
        self.seqs[agent_id] = seq
        if agent is not None:
            self.names[agent.namespace, agent.agent_name] = agent_id
            self.aliases.update(((agent.namespace, each), agent_id) for each in agent.aliases)
