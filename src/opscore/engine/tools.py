"""What is asked of the verbs, and what they work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from opscore.core.agent import Agent
from opscore.core.types import Json, Micros
from opscore.engine.cache import TemplateCache
from opscore.engine.clock import Clock
from opscore.engine.dispatcher import Dispatcher
from opscore.engine.ids import Ids
from opscore.engine.schedules import ScheduleBook
from opscore.engine.settings import Settings
from opscore.engine.starts import EMPTY
from opscore.engine.views import Views
from opscore.engine.writer import Writer


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A session to be started. `agent_id` binds it to an agent; `trace_id` is the caller's.

    `traceparent`: which span of that trace asked for it. `callback` is the URL that is told of its
    end.
    """

    workflow: str
    version: str | None = None
    input: Json = EMPTY
    context: Json = EMPTY
    priority: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    agent_id: str | None = None
    trace_id: str | None = None
    callback: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """One task by itself. `retry` and `timeout` have the form they have in a template."""

    capability: str | None = None
    agent: str | None = None
    input: Json = EMPTY
    context: Json = EMPTY
    priority: int = 50
    delay_seconds: float | None = None
    due_at: Micros | None = None
    retry: object = None
    timeout: object = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    trace_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """What the verbs work with.

    `find_agent` takes namespace and id, and raises NotFound; `seen` takes an agent and an instance
    of it that gave a sign of life; `check_callback` raises Invalid for a URL that cannot be called.
    """

    writer: Writer
    views: Views
    templates: TemplateCache
    dispatcher: Dispatcher
    schedules: ScheduleBook
    clock: Clock
    ids: Ids
    settings: Settings
    now: Callable[[], Micros]
    chance: Callable[[], float]
    find_agent: Callable[[str, str], Agent]
    seen: Callable[[Agent, str], Awaitable[None]]
    check_callback: Callable[[str], None]
