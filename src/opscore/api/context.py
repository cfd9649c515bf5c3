"""What all requests of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opscore.api.access import Access, Principal
from opscore.api.notices import Notices
from opscore.api.settings import ServerSettings
from opscore.api.tracing import random_trace_id, trace_of
from opscore.channels.agentkit_sync import AgentKitSync
from opscore.engine.clock import Clock, SystemClock
from opscore.engine.known_traces import KnownTraces

if TYPE_CHECKING:
    from opscore.engine.engine import Engine


@dataclass(slots=True)
class Context:
    """The engine, the settings, who gets in, and which requests are waiting for something."""

    engine: Engine
    settings: ServerSettings
    access: Access
    clock: Clock = field(default_factory=SystemClock)
    new_trace_id: Callable[[], str] = random_trace_id
    waiting: dict[asyncio.Task[Any], Principal] = field(
        default_factory=dict[asyncio.Task[Any], Principal]
    )
    stopping: bool = False
    agentkit: AgentKitSync | None = None
    notices: Notices = field(default_factory=Notices)
    known_traces: KnownTraces = field(init=False)

    def __post_init__(self) -> None:
        self.known_traces = KnownTraces(self.engine.store)

    def trace_id_of(self, headers: Mapping[bytes, bytes]) -> str:
        """The trace that a request belongs to: its caller's, or a new one."""
        return trace_of(headers.get(b"traceparent")) or self.new_trace_id()

    def stop(self) -> None:
        """Make every long-poll, wait and live stream answer at once."""
        self.stopping = True
        for task in list(self.waiting):
            task.cancel()

    def end_without(self, lives: Callable[[str], bool]) -> None:
        """Make those answer that wait with a key that does not count any more."""
        for task, principal in list(self.waiting.items()):
            if principal.key_id is not None and not lives(principal.key_id):
                task.cancel()
