"""The facts of an agent's journal.

Every change says who (`actor`), why (`reason`), from what (`previous`) to what (`state`), and
whatever the agent said about it (`details`); when it was is part of every stored event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from opscore.core.types import AgentState, Micros


@dataclass(frozen=True, slots=True)
class AgentContent:
    """What an agent's registration says. `aliases` are other ids that the same agent has used."""

    agent_name: str
    version: str
    capabilities: tuple[str, ...]
    channel: str
    contact_endpoint: str | None
    max_in_flight: int
    labels: Mapping[str, str]
    metadata: Mapping[str, Any]
    schemas: Mapping[str, Any]
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AgentRegistered(AgentContent):
    """The agent exists. `provisional`: known only through its own report so far."""

    TYPE: ClassVar[str] = "agent.registered"
    VERSION: ClassVar[int] = 1
    namespace: str
    provisional: bool
    state: AgentState
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class AgentChanged(AgentContent):
    """The agent registered again with other content, or somebody changed it."""

    TYPE: ClassVar[str] = "agent.changed"
    VERSION: ClassVar[int] = 1
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class AgentStateChanged:
    """The agent reported (`reported` is its word), or its presence began or ended.

    `condition` is what the agent is apart from orders and presence; `absent` says that no instance
    is there. `late`: overtaken by a newer report, so nothing changes. `irregular`: not a step of
    the transition table, recorded all the same.
    """

    TYPE: ClassVar[str] = "agent.state_changed"
    VERSION: ClassVar[int] = 1
    previous: AgentState
    state: AgentState
    condition: AgentState
    absent: bool
    reported: str | None
    reported_at: str | None
    late: bool
    irregular: bool
    actor: str
    reason: str
    details: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class AgentDraining:
    """An operator let it take no more work; what it still holds at `deadline` is released."""

    TYPE: ClassVar[str] = "agent.draining"
    VERSION: ClassVar[int] = 1
    previous: AgentState
    state: AgentState
    deadline: Micros | None
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class AgentDrained:
    """The deadline of a drain has passed; these (task, attempt) were released."""

    TYPE: ClassVar[str] = "agent.drained"
    VERSION: ClassVar[int] = 1
    released: tuple[tuple[str, int], ...]
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class AgentActivated:
    """An operator let it take work again."""

    TYPE: ClassVar[str] = "agent.activated"
    VERSION: ClassVar[int] = 1
    previous: AgentState
    state: AgentState
    condition: AgentState
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class AgentDeregistered:
    """The agent is gone; the attempts that it held were released."""

    TYPE: ClassVar[str] = "agent.deregistered"
    VERSION: ClassVar[int] = 1
    previous: AgentState
    released: tuple[tuple[str, int], ...]
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class InstanceConnected:
    """A process of the agent is there."""

    TYPE: ClassVar[str] = "instance.connected"
    VERSION: ClassVar[int] = 1
    instance_id: str
    max_in_flight: int
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class InstanceDisconnected:
    """A process of the agent is no longer there; its leases run on until they expire."""

    TYPE: ClassVar[str] = "instance.disconnected"
    VERSION: ClassVar[int] = 1
    instance_id: str
    actor: str
    reason: str


AgentEvent = (
    AgentRegistered
    | AgentChanged
    | AgentStateChanged
    | AgentDraining
    | AgentDrained
    | AgentActivated
    | AgentDeregistered
    | InstanceConnected
    | InstanceDisconnected
)
