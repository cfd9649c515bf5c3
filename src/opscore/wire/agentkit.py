"""What AgentKit sends us. Its names, its mixture of spellings; what it adds is tolerated."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from opscore.wire.base import Id, Output

AnyName = Annotated[str, msgspec.Meta(max_length=128)]


class NotifiedAgent(msgspec.Struct, rename="camel", kw_only=True):
    """The agent that a notice is about."""

    agent_id: Id
    agent_name: AnyName = ""
    version: str | None = None
    capabilities: list[str] | None = None
    contact_endpoint: str | None = None
    metadata: dict[str, Any] | None = None


class AgentNotice(msgspec.Struct, kw_only=True):
    """`POST /internal/agent/notify`: REGISTER or DEREGISTER."""

    event_type: Annotated[str, msgspec.Meta(max_length=64)]
    agent_details: NotifiedAgent


class NoticeAnswer(Output, omit_defaults=True):
    """What became of a notice: registered, deregistered, duplicate, or ignored."""

    status: str
    agent_id: str | None = None


class AgentKitView(Output):
    """How AgentKit stands: `ageSeconds` is the age of what is known from it."""

    url: str
    reachable: bool
    age_seconds: float | None
    lists_agents: bool
    error: str | None
