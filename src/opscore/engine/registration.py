"""The commands of the write path by which agents become known, and are changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from opscore.core import agent as core
from opscore.core import agent_events as ev
from opscore.core.agent import Agent
from opscore.core.errors import Conflict, Forbidden
from opscore.engine.registry import AgentBatch, Registry
from opscore.engine.revisions import Seen, agent_revision, check_seen
from opscore.engine.unit import Means, Unit
from opscore.store.rows import Wants


@dataclass(slots=True)
class Register:
    """Register an agent or update it: found by `agent_id`, else by its name.

    An id that is new for a known name becomes an alias of that agent. `fresh_id` is used when none
    was given, `stored_seq` is where the journal of `agent_id` ends in the store. `foreign`: another
    namespace has, or had, an agent of this id; here it becomes an alias, so that neither finds
    anything of the other's. `bound`: the only agent that may be registered.
    """

    registry: Registry
    namespace: str
    agent_id: str | None
    fresh_id: str
    content: ev.AgentContent
    actor: str
    stored_seq: int = 0
    foreign: bool = False
    bound: str | None = None
    weight: int = 1
    changed: bool = True

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing: agents are in memory."""

    def apply(self, unit: Unit) -> tuple[Agent, bool]:
        """The agent, and whether it is new.

        Raises Conflict when the name is another agent's, Forbidden for another than the bound one.
        """
        self.changed = True
        batch = self.registry.batch(unit)
        found = batch.find(self.namespace, self.agent_id) if self.agent_id else None
        named = batch.named(self.namespace, self.content.agent_name)
        if self.bound is not None:
            self._check_bound(self.bound, found, named)
        if found is None and named is None:
            return self._create(batch), True
        if found is not None and named is not None and found.agent_id != named.agent_id:
            if not found.provisional:
                raise taken(self.content.agent_name, named)
            why = f"it is agent {named.agent_id}"
            batch.remove(found, ev.AgentDeregistered(found.state, (), self.actor, why))
            found = None
        return self._update(batch, found or named)

    def _check_bound(self, bound: str, found: Agent | None, named: Agent | None) -> None:
        other = found is not None and found.agent_name != bound
        if other or self.content.agent_name != bound:
            raise Forbidden(f"This key acts only as the agent {bound}.")
        if found is None and named is not None and self.agent_id is not None:
            raise Forbidden(f"The agent {bound} has another id; a key bound to it adds none.")

    def _create(self, batch: AgentBatch) -> Agent:
        agent_id, seq, aliases = place(
            batch, self.agent_id, self.fresh_id, self.stored_seq, foreign=self.foreign
        )
        if not batch.may_take(self.namespace, self.content.agent_name, agent_id):
            raise Conflict(f"the name {self.content.agent_name} is not free yet; try again")
        agent = Agent(agent_id, self.namespace, seq)
        content = replace(self.content, aliases=aliases)
        return batch.record(agent, core.register(agent, content, self.actor))

    def _update(self, batch: AgentBatch, agent: Agent | None) -> tuple[Agent, bool]:
        assert agent is not None
        if not batch.may_take(self.namespace, self.content.agent_name, agent.agent_id):
            raise Conflict(f"the name {self.content.agent_name} is not free yet; try again")
        aliases = agent.aliases
        if self.agent_id not in (None, agent.agent_id, *aliases):
            aliases = core.with_alias(aliases, self.agent_id or "")
        events = core.register(agent, replace(self.content, aliases=aliases), self.actor)
        self.changed = bool(events)
        return (batch.record(agent, events) if events else agent), agent.provisional


def taken(name: str, holder: Agent) -> Conflict:
    """The refusal for a name that another agent has."""
    return Conflict(f"the name {name} belongs to agent {holder.agent_id}")


def place(
    batch: AgentBatch, wanted: str | None, fresh_id: str, stored_seq: int, *, foreign: bool
) -> tuple[str, int, tuple[str, ...]]:
    """Under which id a new agent is kept, where that id's journal ends, and the agent's aliases.

    What one namespace calls its agents tells another nothing, and takes nothing from it.
    """
    if wanted is None:
        return fresh_id, 0, ()
    if foreign or batch.by_id(wanted) is not None:
        return fresh_id, 0, (wanted,)
    return wanted, batch.last_seq(wanted, stored_seq), ()


@dataclass(slots=True)
class Patch:
    """Change some of an agent's content."""

    registry: Registry
    namespace: str
    agent_id: str
    changes: Mapping[str, Any]
    actor: str
    seen: Seen = None
    weight: int = 1
    changed: bool = True

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing: agents are in memory."""

    def apply(self, unit: Unit) -> Agent:
        """The agent as it is now. Raises NotFound, Outdated, Conflict when a new name is taken."""
        batch = self.registry.batch(unit)
        agent = batch.require(self.namespace, self.agent_id)
        check_seen(self.seen, agent_revision(agent))
        content = replace(agent.content, **self.changes)
        named = batch.named(self.namespace, content.agent_name)
        if named is not None and named.agent_id != agent.agent_id:
            raise taken(content.agent_name, named)
        if not batch.may_take(self.namespace, content.agent_name, agent.agent_id):
            raise Conflict(f"the name {content.agent_name} is not free yet; try again")
        events = core.change(agent, content, self.actor)
        self.changed = bool(events)
        return batch.record(agent, events) if events else agent
