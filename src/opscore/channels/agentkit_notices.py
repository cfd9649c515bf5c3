"""Registrations that come from AgentKit: by its webhook, or from its list."""

from __future__ import annotations

from opscore.core.errors import Conflict
from opscore.core.types import Actor
from opscore.engine.lifecycle import AgentDetails, Lifecycle
from opscore.engine.records import AgentRecord
from opscore.wire.agentkit import NotifiedAgent

CHANNEL = "agentkit"


async def register(
    lifecycle: Lifecycle, told: NotifiedAgent, namespace: str, actor: Actor
) -> AgentRecord:
    """Register an agent, or update it: AgentKit gives new ids after its restart, names stay.

    Labels are ours and stay. Raises Conflict when the name belongs to an agent of another channel,
    and what `register_agent` raises.
    """
    known = lifecycle.find_agent(told.agent_id, told.agent_name, namespace=namespace)
    if known is not None and known.channel != CHANNEL:
        raise Conflict(
            f"agent {known.agent_name} is registered on the channel {known.channel}; "
            "remove it first, or give one of the two another name"
        )
    details = AgentDetails(
        agent_name=told.agent_name,
        agent_id=told.agent_id,
        version=told.version or "",
        capabilities=tuple(told.capabilities or ()),
        channel=CHANNEL,
        contact_endpoint=told.contact_endpoint,
        labels={} if known is None else known.labels,
        metadata=told.metadata or {},
    )
    return await lifecycle.register_agent(details, namespace=namespace, actor=actor)


async def deregister(
    lifecycle: Lifecycle, told: NotifiedAgent, namespace: str, actor: Actor
) -> bool:
    """Remove an agent, if that is still its id; whether it was removed.

    A notice about an id that a newer registration replaced is late: the agent stays.
    """
    known = lifecycle.find_agent(told.agent_id, None, namespace=namespace)
    if known is None or known.channel != CHANNEL:
        return False
    current = known.aliases[-1] if known.aliases else known.agent_id
    if told.agent_id != current:
        return False
    reason = "AgentKit deregistered it"
    await lifecycle.deregister(known.agent_id, reason=reason, namespace=namespace, actor=actor)
    return True
