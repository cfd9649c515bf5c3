"""Spans that agents recorded themselves: calls of models and tools, as OpenTelemetry has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from opscore.core.types import Micros

Value = str | int | float | bool
SpanStatus = Literal["unset", "ok", "error"]


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """Something that happened at one moment of a span."""

    name: str
    at: Micros
    attributes: Mapping[str, Value] = field(default_factory=dict[str, Value])


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One span as it was sent. `at` is the server's time of receipt; the others are the sender's.

    `source`: the service that recorded it. `message`: what it says of its status.
    """

    at: Micros
    namespace: str
    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    started_at: Micros
    ended_at: Micros
    status: SpanStatus = "unset"
    message: str = ""
    source: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict[str, Value])
    events: tuple[ReceivedEvent, ...] = ()
