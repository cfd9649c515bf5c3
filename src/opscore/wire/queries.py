"""Query strings of the lists, and the small answers that have no noun of their own."""

from __future__ import annotations

from typing import Annotated

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


class ListTasks(PageQuery, kw_only=True):
    """`GET /task`; `dead` keeps only tasks that failed for good."""

    status: TaskWord | None = None
    agent: Id | None = None
    capability: Name | None = None
    session: Id | None = None
    dead: bool = False


class LongPageQuery(PageQuery, kw_only=True):
    """Histories: longer pages than lists."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Health(Output):
    """`GET /health`: the process answers."""

    status: str = "ok"


class Readiness(Output):
    """`GET /ready`: whether work is taken, and if not, why. AgentKit being away is no reason."""

    ready: bool
    reasons: list[str] = []
    agentkit: AgentKitView | msgspec.UnsetType = msgspec.UNSET
