"""Query strings of the lists, and the small answers that have no noun of their own."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from opscore.wire.agent import AgentStateWord
from opscore.wire.agentkit import AgentKitView
from opscore.wire.base import Id, Input, Name, Output
from opscore.wire.session import SessionWord
from opscore.wire.task import TaskWord

Limit = Annotated[int, msgspec.Meta(ge=1, le=500)]
Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
LabelFilter = Annotated[
    str, msgspec.Meta(max_length=512, description="`key=value`, or `key` for any value")
]
Moment = Annotated[str, msgspec.Meta(max_length=64, description="RFC 3339, with an offset")]


EventTypes = Annotated[
    str,
    msgspec.Meta(
        max_length=1024,
        description="Event types (`task.failed`) or their first words (`task`), by commas",
    ),
]
Position = Annotated[
    int,
    msgspec.Meta(ge=0, lt=10**18, description="As `Last-Event-ID`, for who cannot send it"),
]


class PageQuery(Input):
    """What every list takes."""

    cursor: Cursor | None = None
    limit: Limit = 50


class ListAgents(PageQuery, kw_only=True):
    """`GET /agent`."""

    capability: Name | None = None
    state: AgentStateWord | None = None
    label: LabelFilter | None = None
    q: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class ListSessions(PageQuery, kw_only=True):
    """`GET /session`."""

    workflow: Name | None = None
    status: SessionWord | None = None
    agent: Id | None = None
    label: LabelFilter | None = None
    since: Moment | None = None
    until: Moment | None = None


class SlowestQuery(Input):
    """`GET /trace/slowest`."""

    since: Annotated[
        str, msgspec.Meta(max_length=64, description="RFC 3339, or so long ago: 10m, 1h, 2d")
    ] = "1h"
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10


class UsageQuery(Input):
    """`GET /usage`."""

    by: Literal["agent", "capability", "day", "workflow"] = "capability"
    since: Annotated[
        str, msgspec.Meta(max_length=64, description="RFC 3339, or so long ago: 10m, 1h, 2d")
    ] = "1d"


class ListTasks(PageQuery, kw_only=True):
    """`GET /task`; `dead` keeps only tasks given up for good, which a retry would run again."""

    status: TaskWord | None = None
    agent: Id | None = None
    capability: Name | None = None
    session: Id | None = None
    workflow: Name | None = None
    error_class: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    dead: bool = False


class LongPageQuery(PageQuery, kw_only=True):
    """Histories: longer pages than lists."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class FollowEvents(Input):
    """`GET /event` and `WS /event/ws`; what is not named does not matter."""

    session: Id | None = None
    agent: Id | None = None
    workflow: Name | None = None
    type: EventTypes | None = None
    capability: Name | None = None
    after: Position | None = None
    follow: Annotated[bool, msgspec.Meta(description="False: end with what has happened")] = True


class Health(Output):
    """`GET /health`: the process answers."""

    status: str = "ok"


class AuditState(Output):
    """How the checkpoints stand, in `GET /ready`."""

    checkpoint_at: str | None
    problem: str | None


class LogStoreState(Output):
    """The log store in `GET /ready`: what is wrong with it, and how many records it lost."""

    problem: str | None
    dropped: int


class ExportState(Output):
    """How spans are exported, in `GET /ready`: what is wrong, what waits, what was lost.

    Counted are sessions.
    """

    endpoint: str
    problem: str | None
    waiting: int
    dropped: int


class PartState(Output):
    """Another part in `GET /ready`: what is wrong with it, and how much waits for it."""

    problem: str | None
    waiting: int


class Readiness(Output):
    """`GET /ready`: whether work is taken, and if not, why.

    A part that is broken is named, and is no reason: AgentKit that is away, a checkpoint of the
    audit that could not be written, the log store, the collector of spans, receivers of callbacks,
    hooks.
    """

    ready: bool
    reasons: list[str] = []
    agentkit: AgentKitView | msgspec.UnsetType = msgspec.UNSET
    audit: AuditState | msgspec.UnsetType = msgspec.UNSET
    logs: LogStoreState | None = None
    export: ExportState | msgspec.UnsetType = msgspec.UNSET
    callbacks: PartState | None = None
    hooks: PartState | None = None
