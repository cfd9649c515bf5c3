"""Agents as the verbs give them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opscore.core import agent_events as ev
from opscore.core.agent import Agent, shown_state
from opscore.core.types import AgentState
from opscore.engine.journal import decode_agent
from opscore.engine.presence import Instance, Presence
from opscore.engine.records import AgentRecord, InstanceRecord, Paged, StateRecord
from opscore.engine.registry import Registry
from opscore.engine.revisions import agent_revision
from opscore.store.rows import StoredEvent
from opscore.store.store import Store


def agent_record(
    agent: Agent, presence: Presence, *, online: bool, created: bool = False
) -> AgentRecord:
    """An agent with its instances; its state as people are shown it."""
    instances = presence.instances(agent.agent_id)
    told_at = max(presence.registered_at(agent.agent_id), agent.registered_at or agent.created_at)
    in_flight = sum(i.in_flight for i in instances)
    return AgentRecord(
        agent_id=agent.agent_id,
        agent_name=agent.agent_name,
        namespace=agent.namespace,
        version=agent.version,
        capabilities=agent.capabilities,
        channel=agent.channel,
        contact_endpoint=agent.contact_endpoint,
        max_in_flight=agent.max_in_flight,
        labels=agent.labels,
        metadata=agent.metadata,
        schemas=agent.schemas,
        state=shown_state(agent, in_flight),
        reported_state=agent.reported,
        details=agent.details,
        online=online,
        instances=tuple(_instance_record(i) for i in instances),
        last_error=agent.last_error,
        created_at=agent.created_at,
        updated_at=agent.updated_at,
        registered_at=told_at,
        created=created,
        revision=agent_revision(agent),
    )


def _instance_record(instance: Instance) -> InstanceRecord:
    return InstanceRecord(
        instance_id=instance.instance_id,
        online=instance.online,
        max_in_flight=instance.max_in_flight,
        in_flight=instance.in_flight,
        connected_at=instance.connected_at,
        last_seen_at=instance.last_seen,
    )


def current_state(agent: Agent, in_flight: int) -> StateRecord:
    """The state now, with who changed it last, when and why."""
    return StateRecord(
        agent_id=agent.agent_id,
        state=shown_state(agent, in_flight),
        previous=agent.previous,
        reported_state=agent.reported,
        reported_at=agent.reported_at,
        at=agent.changed_at,
        actor=agent.changed_by,
        reason=agent.reason,
        details=agent.details,
        seq=agent.seq,
    )


STATE_EVENTS = frozenset(
    {
        ev.AgentRegistered.TYPE,
        ev.AgentStateChanged.TYPE,
        ev.AgentDraining.TYPE,
        ev.AgentActivated.TYPE,
    }
)
"""The events that a history of states shows."""


def past_state(row: StoredEvent) -> StateRecord | None:
    """One entry of the history, or None when the event is about something else."""
    if row.type not in STATE_EVENTS:
        return None
    event = decode_agent(row.type, row.version, row.data)
    match event:
        case ev.AgentStateChanged():
            said = (event.previous, event.reported, event.reported_at)
            return _past(row, event, *said, event.details)
        case ev.AgentDraining() | ev.AgentActivated():
            return _past(row, event, event.previous)
        case ev.AgentRegistered():
            return _past(row, event)
        case _:
            return None


def _past(
    row: StoredEvent,
    event: ev.AgentRegistered | ev.AgentStateChanged | ev.AgentDraining | ev.AgentActivated,
    previous: AgentState | None = None,
    reported: str | None = None,
    reported_at: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> StateRecord:
    return StateRecord(
        agent_id=row.owner,
        state=event.state,
        previous=previous,
        reported_state=reported,
        reported_at=reported_at,
        at=row.at,
        actor=event.actor,
        reason=event.reason,
        details=details,
        seq=row.seq,
    )


EVENTS_PER_READ = 500


async def read_history(store: Store, agent_id: str, seq: int, limit: int) -> Paged[StateRecord]:
    """`limit` changes of state after the event number `seq`, oldest first."""
    found: list[StateRecord] = []
    while rows := await store.agent_journal(agent_id, seq, EVENTS_PER_READ):
        for row in rows:
            record = past_state(row)
            if record is not None and len(found) == limit:
                return Paged(found, str(found[-1].seq if found else seq))
            if record is not None:
                found.append(record)
        seq = rows[-1].seq
    return Paged(found, None)


async def trail(
    store: Store, registry: Registry, namespace: str, agent_id: str | None
) -> tuple[int, bool]:
    """Of an id that no agent here has: where its journal ends, and whether that is another's."""
    if agent_id is None or registry.find(namespace, agent_id):
        return 0, False
    if await store.agent_owner(agent_id) not in (None, namespace):
        return 0, True
    if registry.last_seq(agent_id):
        return 0, False
    return await journal_end(store, agent_id), False


async def journal_end(store: Store, agent_id: str) -> int:
    """The number of the last event of an agent's journal; 0 when it has none."""
    seq = 0
    while rows := await store.agent_journal(agent_id, seq, EVENTS_PER_READ):
        seq = rows[-1].seq
    return seq


def matches(agent: Agent, capability: str | None, label: str | None, q: str | None) -> bool:
    """Whether an agent is one of those that a list asks for."""
    if capability is not None and capability not in agent.capabilities:
        return False
    if label is not None:
        key, equals, value = label.partition("=")
        if key not in agent.labels or (equals and agent.labels[key] != value):
            return False
    texts = (agent.agent_name, agent.agent_id, *agent.capabilities)
    return q is None or any(q.lower() in text.lower() for text in texts)
