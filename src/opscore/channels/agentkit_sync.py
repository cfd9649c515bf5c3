"""Keeping up with AgentKit: is it there, and whom does it know, where a version tells.

Ops-Core works on without it: registrations are kept in the store, and calls go to the agents
themselves. What is kept has an age, the time since AgentKit last answered.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
import structlog

from opscore.channels.agentkit import AgentKit
from opscore.channels.agentkit_notices import register
from opscore.channels.push import Home
from opscore.channels.replies import read_json
from opscore.core.errors import Invalid, Refusal
from opscore.core.types import DEFAULT_NAMESPACE, SECOND, Actor, Micros
from opscore.outgoing.request import Answer, OutgoingFailed
from opscore.wire.agentkit import AgentKitView, NotifiedAgent

REFRESH_SECONDS = 30.0
ANSWER_SECONDS = 5.0
ACTOR = Actor("agentkit", "list")

log = structlog.get_logger("opscore.agentkit")


class AgentKitSync:
    """Asks AgentKit from time to time, and remembers how that went."""

    def __init__(self, home: Home, agentkit: AgentKit) -> None:
        self._home = home
        self._agentkit = agentkit
        self._answered_at: Micros | None = None
        self._error: str | None = "not asked yet"
        self._lists = False

    def open(self) -> None:
        """Ask now, and again for as long as the engine runs."""
        self._home.spawn(self.refresh())
        self._home.every(REFRESH_SECONDS, self.refresh)

    def view(self) -> AgentKitView:
        """How it stands."""
        at = self._answered_at
        age = None if at is None else (self._home.clock.now() - at) / SECOND
        return AgentKitView(
            url=self._agentkit.url,
            reachable=self._error is None,
            age_seconds=age,
            lists_agents=self._lists,
            error=self._error,
        )

    async def refresh(self) -> None:
        """Ask once. That it is down is remembered, logged when it changes, and harms nothing."""
        was = self._error
        try:
            answer = await self._agentkit.outgoing.get(
                f"{self._agentkit.url}/v1/agents", seconds=ANSWER_SECONDS
            )
        except OutgoingFailed as failure:
            self._error = str(failure)
            if was != self._error:
                log.warning("agentkit_unreachable", error=self._error)
            return
        self._answered_at, self._error = self._home.clock.now(), None
        if was is not None:
            log.info("agentkit_reachable", url=self._agentkit.url)
        await self._take(answer)

    async def _take(self, answer: Answer) -> None:
        """Register those it lists; most versions have no list and answer 404."""
        agents = _listed(answer)
        self._lists = agents is not None
        for one in agents or ():
            try:
                told = msgspec.convert(one, NotifiedAgent)
                await register(self._home.lifecycle, told, DEFAULT_NAMESPACE, ACTOR)
            except (msgspec.ValidationError, Refusal) as error:
                log.warning("agentkit_agent_not_registered", error=str(error))


def _listed(answer: Answer) -> list[Any] | None:
    if answer.status != 200:
        return None
    try:
        found = read_json(answer.body)
    except Invalid:
        return None
    if isinstance(found, dict):
        found = cast(dict[str, Any], found).get("agents")
    return cast("list[Any]", found) if isinstance(found, list) else None
