"""Log records: what is searched for, what is found, how the store is kept small."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from opscore.wire.base import Id, Input, Output, Page
from opscore.wire.queries import Cursor, Limit, Position

LevelWord = Literal["debug", "info", "warning", "error", "critical"]
TraceId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$", description="W3C trace id")]
SpanId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$", description="W3C span id")]
ErrorType = Annotated[str, msgspec.Meta(max_length=128, description="As `timeout`")]
When = Annotated[
    str, msgspec.Meta(max_length=64, description="RFC 3339 with an offset, or how long ago: `10m`")
]
Words = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=500,
        description="Words that must all occur; `word*` is a beginning, `ctx.file:main.py` a value",
    ),
]


class LogFilters(Input):
    """What records are wanted; all that is named must hold. `level`: from this one on.

    `agent` is an id or a name. `ctx.KEY=VALUE` asks for a value of the context.
    """

    agent: Id | None = None
    session: Id | None = None
    task: Id | None = None
    trace: TraceId | None = None
    level: LevelWord | None = None
    error_type: ErrorType | None = None
    q: Words | None = None
    since: When | None = None
    ctx: dict[str, Annotated[str, msgspec.Meta(max_length=200)]] = {}


class ListLogs(LogFilters):
    """`GET /log`. `until` does not count itself; `order` is that of arrival."""

    cursor: Cursor | None = None
    limit: Limit = 50
    until: When | None = None
    order: Literal["newest", "oldest"] = "newest"


class FollowLogs(LogFilters):
    """`GET /log/stream`. It begins now, or with `since`, or after the record with the id `after`."""

    after: Position | None = None


class RecordsDropped(Output):
    """A message of type `dropped`: so many records are missing here; they came too fast."""

    dropped: int


class LogView(Output, omit_defaults=True):
    """One record; what it does not say is left out.

    `at` is the server's time of receipt, `reportedAt` what the writer's clock said.
    """

    log_id: int
    at: str
    level: LevelWord
    operation: str
    namespace: str
    message: str
    agent_id: str | None = None
    agent: str | None = None
    session_id: str | None = None
    task_id: str | None = None
    attempt: int | None = None
    trace_id: str | None = None
    span_id: str | None = None
    error_type: str | None = None
    error_code: str | None = None
    actor: str | None = None
    reported_at: str | None = None
    context: dict[str, Any] = {}


class LogPage(Page):
    """`GET /log`, in the order that was asked for."""

    records: list[LogView] = []


class ShippedRecord(Input):
    """One record of an agent. `at` is the time by its own clock."""

    message: Annotated[str, msgspec.Meta(max_length=65_536)]
    level: LevelWord = "info"
    operation: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] = "log"
    at: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    session_id: Id | None = None
    task_id: Id | None = None
    attempt: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] | None = None
    trace_id: TraceId | None = None
    span_id: SpanId | None = None
    error_type: ErrorType | None = None
    error_code: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    context: dict[str, Any] = {}


class ShipLogs(Input):
    """`POST /log`. `agent` (an id or a name): whose records these are."""

    records: Annotated[list[ShippedRecord], msgspec.Meta(min_length=1, max_length=1000)]
    agent: Id | None = None


class LogsTaken(Output):
    """How many records were taken, and how many found no room."""

    accepted: int
    dropped: int


class ForgetLogs(Input):
    """`POST /log/gc`. What is left out is as the server's retention has it."""

    older_than_seconds: Annotated[float, msgspec.Meta(ge=0, le=3.2e9)] | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    dry_run: bool = False


class LogsForgotten(Output):
    """How many records were (with `dryRun`: would be) deleted: too old, and beyond the size.

    How many go for the size is reckoned beforehand from the records' mean size.
    """

    outdated: int
    oversized: int
    dry_run: bool
