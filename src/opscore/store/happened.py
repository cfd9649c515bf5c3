"""An event as a feed of everything needs it: with what it is about."""

from __future__ import annotations

from typing import NamedTuple

from opscore.core.types import Json, Micros


class Happened(NamedTuple):
    """An event of either journal with what it is about, as far as it is about that.

    `owner` is an agent's id when `of_agent`, else a session's; `agent_id` is the owner itself or
    the agent that the session is bound to, `worker` has or had the task last.
    """

    position: int
    owner: str
    seq: int
    at: Micros
    type: str
    version: int
    data: Json
    of_agent: bool
    workflow: str | None
    agent_id: str | None
    worker: str | None
    capability: str | None
