"""Where the time and the money of sessions went."""

from __future__ import annotations

from typing import Literal

import msgspec

from opscore.wire.base import Output

SpanKind = Literal[
    "workflow",
    "step",
    "compensation",
    "child",
    "queue",
    "work",
    "delay",
    "wait",
    "approval",
    "reported",
]
Value = str | int | float | bool


class SpanEventView(Output):
    """Something that happened at one moment of a span."""

    name: str
    at: str
    attributes: dict[str, Value] = {}


class SpanView(Output):
    """A stretch of time; `endAt` null: it goes on. `parentId` null: nothing is above it.

    `queue`, `work`, `delay`, `wait` and `approval` are where time passes; the others hold spans.
    `reported`: recorded by an agent, at the times of its own clock.
    `critical`: had it been shorter, the session would have ended sooner.
    """

    span_id: str
    parent_id: str | None
    name: str
    kind: SpanKind
    session_id: str
    start_at: str
    end_at: str | None
    seconds: float
    status: Literal["unset", "ok", "error"]
    critical: bool
    attributes: dict[str, Value]
    events: list[SpanEventView] = []


class UsageView(Output):
    """Tokens and cost of so many attempts that told theirs."""

    attempts: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    models: list[str] = []


class SpentView(Output):
    """What was spent; `wasted` of it for attempts that did not complete their task."""

    total: UsageView
    wasted: UsageView


class TraceUsage(SpentView):
    """What a session spent with its child sessions, and what each of its steps did."""

    steps: dict[str, SpentView]


class Bottleneck(Output):
    """Where most of the critical path's time went; `share` of the total, from 0 to 1."""

    kind: SpanKind
    session_id: str
    step: str | None
    target: str | None
    seconds: float
    share: float


class CriticalPathView(Output):
    """The time from begin to end along the critical path. `restSeconds`: in no span at all."""

    total_seconds: float
    queue_seconds: float
    work_seconds: float
    delay_seconds: float
    wait_seconds: float
    approval_seconds: float
    rest_seconds: float
    bottleneck: Bottleneck | None


class TraceView(Output):
    """`GET /session/{id}/trace`: a session and its child sessions as spans, as it is `at` this time.

    `truncated`: so many events that the later ones were left out. `conventions`: the version of the
    OpenTelemetry semantic conventions that names and attributes follow. `problem`: why what agents
    recorded themselves is not there.
    """

    session_id: str
    trace_id: str
    workflow: str
    version: str
    status: str
    at: str
    truncated: bool
    conventions: str
    spans: list[SpanView]
    critical_path: CriticalPathView
    usage: TraceUsage | msgspec.UnsetType = msgspec.UNSET
    problem: str | msgspec.UnsetType = msgspec.UNSET


class QuantilesView(Output):
    """Of so many lengths of time."""

    count: int
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    max_seconds: float


class SlowView(Output, omit_defaults=True):
    """A step of a workflow, or (without these) a capability or an agent by name: the `target`."""

    target: str
    workflow: str | None = None
    step: str | None = None
    queue: QuantilesView | None = None
    work: QuantilesView | None = None


class SlowestView(Output):
    """`GET /trace/slowest`: since when was looked, and the slowest first, each by itself.

    `truncated`: there are older events since then that were not looked at.
    """

    since: str
    steps: list[SlowView]
    targets: list[SlowView]
    truncated: bool = False


class SpentBy(SpentView):
    """What one agent, capability, day or workflow spent: `name` says which."""

    name: str


class UsageReport(Output):
    """`GET /usage`: since when was looked, the dearest first; `truncated` as in `SlowestView`."""

    since: str
    by: str
    groups: list[SpentBy]
    truncated: bool = False
