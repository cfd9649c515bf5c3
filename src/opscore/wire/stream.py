"""Messages of the stream channel (`WS /agent/{agentId}/channel`): JSON text, tagged by `type`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from opscore.wire.agent import Attempt
from opscore.wire.base import Id, Problem
from opscore.wire.task import Settlement, Verdict


class FromAgent(msgspec.Struct, rename="camel", kw_only=True, tag_field="type"):
    """Root of what an instance sends."""


class Hello(FromAgent, tag="hello"):
    """First message: who I am, and the attempts I still hold; unlisted ones return at once."""

    instance_id: Id
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    holding: list[tuple[str, int]] = []


class Ready(FromAgent, tag="ready"):
    """How many attempts at once the instance takes from now on (0: none for now)."""

    max_in_flight: Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class Heartbeat(FromAgent, tag="heartbeat"):
    """Still alive, and still working on these."""

    attempts: list[tuple[str, int]] = []


class Progress(FromAgent, tag="progress"):
    """How far an attempt is; shown, not journaled."""

    task_id: str
    attempt: int
    fraction: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    message: Annotated[str, msgspec.Meta(max_length=4096)] = ""


class Log(FromAgent, tag="log", omit_defaults=True):
    """A log record of the agent; one from inside an attempt names it.

    `operation` says what was done in a word or two; `at` is the time by the agent's clock. An unknown
    level counts as `info`.
    """

    task_id: str = ""
    attempt: int = 0
    level: str = "info"
    message: str = ""
    fields: dict[str, Any] = {}
    operation: str = "log"
    trace_id: str | None = None
    span_id: str | None = None
    error_type: str | None = None
    error_code: str | None = None
    at: str | None = None


class Settle(FromAgent, tag="settle"):
    """A batch of settlements; answered by `verdicts` with the same `ref` after the commit."""

    settlements: list[Settlement]
    ref: int = 0


class Draining(FromAgent, tag="drain"):
    """The instance takes no more work and will leave when its attempts are settled."""


AgentMessage = Hello | Ready | Heartbeat | Progress | Log | Settle | Draining


class ToAgent(msgspec.Struct, rename="camel", kw_only=True, tag_field="type"):
    """Root of what the server sends."""


class Welcome(ToAgent, tag="welcome"):
    """Answer to hello. `stale`: attempts the instance listed but no longer owns."""

    agent_id: str
    lease_seconds: float
    heartbeat_seconds: float
    payload_limit: int
    stale: list[tuple[str, int]] = []


class Tasks(ToAgent, tag="tasks"):
    """New attempts."""

    tasks: list[Attempt]


class VerdictsFor(ToAgent, tag="verdicts"):
    """What became of the settlements of the message with this `ref`."""

    verdicts: list[Verdict]
    ref: int = 0


class Cancel(ToAgent, tag="cancel"):
    """Stop working on these; whatever is settled after `graceSeconds` is refused."""

    attempts: list[tuple[str, int]]
    reason: str = ""
    grace_seconds: float = 0.0


class Stale(ToAgent, tag="stale"):
    """Answer to a heartbeat: these are not yours any more."""

    attempts: list[tuple[str, int]]


class Drain(ToAgent, tag="drain"):
    """The server asks the instance to take no more work (the agent is being drained)."""

    reason: str = ""


class Refused(ToAgent, tag="problem"):
    """The last message could not be taken; the connection closes when it was the hello."""

    problem: Problem


ServerMessage = Welcome | Tasks | VerdictsFor | Cancel | Stale | Drain | Refused
