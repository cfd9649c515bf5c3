"""Agents: registration, state, presence, claims."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from opscore.wire.base import Id, Input, Labels, Name, Output, Page, Text, empty_object

AgentStateWord = Literal[
    "unknown", "initializing", "idle", "active", "error", "draining", "offline"
]
MaxInFlight = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class RegisterAgent(Input):
    """`POST /agent`: register or update; idempotent by `agentId`, else by `agentName`.

    `channel`: how tasks reach it: stream, http, agentkit, or another that the server knows.
    """

    agent_name: Name
    agent_id: Id | None = None
    version: Annotated[str, msgspec.Meta(max_length=64)] = ""
    capabilities: Annotated[list[Name], msgspec.Meta(max_length=256)] = []
    channel: Name = "stream"
    contact_endpoint: Text | None = None
    max_in_flight: MaxInFlight = 1
    labels: Labels = {}
    metadata: dict[str, Any] = {}
    schemas: dict[str, Any] = {}


class PatchAgent(Input):
    """`PATCH /agent/{agentId}`: only the fields given change."""

    version: str | msgspec.UnsetType = msgspec.UNSET
    capabilities: list[Name] | msgspec.UnsetType = msgspec.UNSET
    contact_endpoint: Text | None | msgspec.UnsetType = msgspec.UNSET
    max_in_flight: MaxInFlight | msgspec.UnsetType = msgspec.UNSET
    labels: Labels | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class InstanceView(Output):
    """One running process of an agent."""

    instance_id: str
    online: bool
    max_in_flight: int
    in_flight: int
    connected_at: str | None = None
    last_seen_at: str | None = None


class AgentView(Output):
    """An agent as `GET /agent/{agentId}` shows it.

    `signingSecret` stands only in the answer that created an agent of the channel `http`.
    `registeredAt` says how old is what is known of it: when it, or AgentKit, last told its
    registration, changed or not.
    """

    agent_id: str
    agent_name: str
    namespace: str
    version: str
    capabilities: list[str]
    channel: str
    contact_endpoint: str | None
    max_in_flight: int
    labels: dict[str, str]
    metadata: dict[str, Any]
    schemas: dict[str, Any]
    state: AgentStateWord
    reported_state: str | None
    details: dict[str, Any] | None
    online: bool
    in_flight: int
    instances: list[InstanceView]
    last_error: str | None
    created_at: str
    updated_at: str
    registered_at: str
    signing_secret: str | msgspec.UnsetType = msgspec.UNSET


class AgentPage(Page, kw_only=True):
    """`GET /agent`."""

    agents: list[AgentView]


class StateReport(msgspec.Struct, rename="camel", kw_only=True):
    """`POST /agent/{agentId}/state`, exactly as AgentKit sends it; extra fields are tolerated."""

    agent_id: Id
    state: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    timestamp: str | None = None
    details: dict[str, Any] | None = None


class StateRecord(Output):
    """An agent's current state, or one entry of its history."""

    agent_id: str
    state: AgentStateWord
    reported_state: str | None
    at: str
    details: dict[str, Any] | None = None
    previous: str | None = None
    actor: str | None = None
    reason: str | None = None
    reported_at: str | None = None


class StateHistory(Page, kw_only=True):
    """`GET /agent/{agentId}/state/history`, oldest first."""

    states: list[StateRecord]


class AgentHeartbeat(Input):
    """`POST /agent/{agentId}/heartbeat`: presence of an instance, and the leases it holds."""

    instance_id: Id
    attempts: list[tuple[str, int]] = []


class HeartbeatAnswer(Output):
    """Which of the attempts named are no longer the sender's."""

    stale: list[tuple[str, int]] = []


class DrainAgent(Input):
    """`POST /agent/{agentId}/drain`: stop taking work; after the deadline leases are released."""

    deadline_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None = None
    reason: Text = ""


class ClaimTasks(Input):
    """`POST /agent/{agentId}/claim`: long-poll for attempts."""

    instance_id: Id
    max: Annotated[int, msgspec.Meta(ge=1, le=500)] = 10
    wait_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0
    holding: list[tuple[str, int]] | None = None


class Attempt(Output):
    """One claimed attempt as an agent receives it.

    `agent` is set when the task names its agent. It may then carry a capability that the agent does
    not have: a fallback inherits the one of the step. `leaseSeconds` is there when the step sets its
    own `timeout.heartbeat`: a sign of life is wanted at least that often, best three times.
    """

    task_id: str
    attempt: int
    session_id: str
    step: str
    capability: str | None
    input: msgspec.Raw
    context: msgspec.Raw = msgspec.field(default_factory=empty_object)
    idempotency_key: str = ""
    lease_until: str = ""
    deadline: str | None = None
    traceparent: str = ""
    agent: str | None = None
    lease_seconds: float | msgspec.UnsetType = msgspec.UNSET


class Claimed(Output):
    """Answer of a claim."""

    tasks: list[Attempt]
