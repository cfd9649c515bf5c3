"""What an operator may set of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from opscore.core.logs import Retention
from opscore.core.types import SECOND, Micros
from opscore.outgoing.addresses import Rules
from opscore.telemetry.otlp.target import Target


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations in seconds, sizes in bytes.

    `payload_limit` bounds each task's input and output, and a session's input and context;
    `outgoing` says which addresses of agents and callbacks may be called. `template_env`: the
    environment variables that templates may read, None for one that is not set. `audit_checkpoint`:
    the file or the http(s) URL that is told every minute how far the audit has come.
    `log_retention`: how long log records are kept, and how large their store may become. `export`:
    the collector that is sent the spans of sessions that ended.
    """

    lease_seconds: float = 15.0
    cancel_grace_seconds: float = 10.0
    offline_after_seconds: float = 45.0
    payload_limit: int = 262_144
    development: bool = False
    outgoing: Rules = field(default_factory=Rules)
    template_env: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])
    audit_checkpoint: str | None = None
    log_retention: Retention = field(default_factory=Retention)
    export: Target | None = None

    @property
    def lease(self) -> Micros:
        """The lease in microseconds."""
        return round(self.lease_seconds * SECOND)

    @property
    def offline_after(self) -> Micros:
        """How long an agent that nobody heard of still counts as online, in microseconds."""
        return round(self.offline_after_seconds * SECOND)

    @property
    def heartbeat_seconds(self) -> float:
        """How often an agent should give a sign of life: every third of the lease."""
        return self.lease_seconds / 3
