"""How many attempts an agent that we call takes, by what it says of itself."""

from __future__ import annotations

from opscore.core.agent import Agent, Availability, availability
from opscore.core.types import SECOND, AgentState, Micros

ACCEPTED: Micros = 3600 * SECOND
"""How long an agent that we call may work on what it accepted (202) without a sign of life, when
the step has no timeout."""


def push_slots(agent: Agent, *, elsewhere: bool) -> int:
    """How many attempts an agent that we call takes at once, by what it says of itself.

    `elsewhere`: that it says `active` is about work that is not ours, which takes one slot.
    """
    verdict = availability(agent, in_flight=0, slots=agent.max_in_flight + 1, connected=True)
    if verdict is not Availability.AVAILABLE:
        return 0
    taken = elsewhere and agent.state is AgentState.ACTIVE
    return agent.max_in_flight - 1 if taken else agent.max_in_flight
