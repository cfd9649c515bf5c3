"""Where spans are exported to, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

LOW_BITS = 2**64


@dataclass(frozen=True, slots=True)
class Target:
    """A collector that takes OTLP over HTTP. `endpoint` is its base, `headers` may hold a key.

    `sample`: the share of traces that is exported, from 0 to 1.
    """

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    sample: float = 1.0

    @property
    def url(self) -> str:
        """Where spans are posted."""
        return f"{self.endpoint.rstrip('/')}/v1/traces"

    def takes(self, trace_id: str, traceparent: str | None) -> bool:
        """Whether a trace is exported: as its caller decided, else by its id.

        So every server, and every session of the trace, decides alike (ParentBased over
        TraceIdRatioBased, opentelemetry.io/docs/specs/otel/trace/sdk).
        """
        if traceparent is not None:
            return bool(int(traceparent[-2:], 16) & 1)
        return int(trace_id[16:], 16) < self.sample * LOW_BITS


def headers_of(text: str) -> dict[str, str]:
    """`key=value,key=value`, percent-encoded, as in OTEL_EXPORTER_OTLP_HEADERS. Raises ValueError."""
    found: dict[str, str] = {}
    for pair in filter(None, (one.strip() for one in text.split(","))):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ValueError("headers are written as name=value,name=value")
        found[unquote(name.strip()).lower()] = unquote(value.strip())
    return found
