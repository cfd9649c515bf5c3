"""Why a session or a task does not go on."""

from __future__ import annotations

from typing import Any

from opscore.wire.base import Output


class AgentLoad(Output, omit_defaults=True):
    """An agent that could take the work, and what keeps it from it."""

    agent_id: str
    agent_name: str
    availability: str
    in_flight: int = 0
    slots: int = 0
    busy_with: list[str] = []


class AttemptInFlight(Output):
    """An attempt that an agent works on."""

    task_id: str
    attempt: int
    agent_id: str
    instance_id: str
    since: str


class ReasonView(Output, omit_defaults=True):
    """One thing that is waited for. `kind` is a stable word, `message` is for people.

    `match`: what the tasks ask of agents besides the capability, which `capable` have. `count` tasks (child sessions) wait for it (are waited for), of which `tasks` (`sessions`) names
    the first twenty; the other fields are there where the kind has them.
    """

    kind: str
    message: str
    since: str
    until: str | None = None
    step: str | None = None
    tasks: list[str] = []
    count: int = 0
    capability: str | None = None
    agent: str | None = None
    match: dict[str, Any] | None = None
    capable: int = 0
    agents: list[AgentLoad] = []
    attempts: list[AttemptInFlight] = []
    position: int = 0
    by: str | None = None
    name: str | None = None
    approvers: list[str] = []
    votes: int = 0
    quorum: int = 0
    key: str | None = None
    limit: int = 0
    in_use: int = 0
    holders: list[tuple[str, int]] = []
    sessions: list[str] = []


class WhyView(Output, omit_defaults=True):
    """`GET /session/{id}/why` and `GET /task/{id}/why`: without reasons, it has ended."""

    session_id: str
    status: str
    at: str
    reasons: list[ReasonView]
    task_id: str | None = None
    task_status: str | None = None
