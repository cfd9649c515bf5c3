"""Spans: what a trace is made of, and what they are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from opscore.core.received import SpanStatus, Value
from opscore.core.types import Micros
from opscore.debugging.usage import Usage

Kind = Literal[
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
"""`reported`: recorded by an agent itself."""
LEAVES: frozenset[Kind] = frozenset({"queue", "work", "delay", "wait", "approval"})
"""Kinds of spans in which time passes; the others hold spans."""
Status = SpanStatus
OPEN = 1 << 62
"""`over` of a span that has not ended: later than any event."""


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened at one moment of a span."""

    name: str
    at: Micros
    attributes: dict[str, Value]


@dataclass(slots=True)
class Span:
    """A stretch of a session's time; `ended_at` None: it goes on.

    `began` and `over` are the sequence numbers of the events that begin and end it: events of one
    batch have the same time, and these keep their order.
    """

    span_id: str
    parent_id: str | None
    name: str
    kind: Kind
    session_id: str
    started_at: Micros
    began: int
    step: str | None = None
    target: str | None = None
    ended_at: Micros | None = None
    over: int = OPEN
    status: Status = "unset"
    attributes: dict[str, Value] = field(default_factory=dict[str, Value])
    events: list[SpanEvent] = field(default_factory=list[SpanEvent])
    usage: Usage | None = None
    critical: bool = False

    def end(self, at: Micros, seq: int, status: Status = "unset") -> None:
        """The event with this sequence number ends it."""
        self.ended_at, self.over, self.status = at, seq, status

    def reopen(self) -> None:
        """It goes on after all."""
        self.ended_at, self.over, self.status = None, OPEN, "unset"


def span_id_of(trace_id: str, *names: str | int) -> str:
    """A W3C span id that everybody who knows the names derives alike.

    The first 64 bits of a SHA-256; that they are all zero, which W3C forbids, happens once in 2^64.
    """
    text = "/".join((trace_id, *map(str, names)))
    return sha256(text.encode()).hexdigest()[:16]


def attempt_span_id(trace_id: str, task_id: str, attempt: int) -> str:
    """The span of an attempt, which agents are told as `traceparent`.

    A task's id names its session, and a task belongs to one step: no more needs to go in.
    """
    return span_id_of(trace_id, task_id, attempt)


AgentName = Callable[[str], str | None]
"""The name of an agent by its id; None when nobody knows it any more."""
