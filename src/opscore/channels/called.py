"""All agents that are called from this process: whoever registers on a push channel gets a seat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import structlog

from opscore.channels.agentkit import AgentKit, AgentKitAgent
from opscore.channels.http import HttpAgent
from opscore.channels.push import TICK_SECONDS, Home, PushAgent
from opscore.core.agent import Agent
from opscore.core.errors import OpsCoreError

log = structlog.get_logger("opscore.push")

Kind: TypeAlias = Callable[[Agent, Home], PushAgent]

CALLED: Mapping[str, Kind] = {
    "http": HttpAgent,
    "agentkit": AgentKitAgent,
}
"""The channels on which we call agents, by the name with which these register."""


class PushChannels:
    """The agents of the channels that call: their seats, their leases.

    One server of a store calls them all, so that their slots are counted in one place. When another
    one leads, it seats them there; whoever led before finds their seats taken.
    """

    def __init__(self, home: Home, agentkit: AgentKit | None = None) -> None:
        self._home = home
        self._kinds: Mapping[str, Kind] = {
            **CALLED,
            "agentkit": partial(AgentKitAgent, agentkit=agentkit),
        }
        self._registered: dict[str, Agent] = {}
        self._agents: dict[str, PushAgent] = {}
        self._joining: set[str] = set()
        self._cycles: list[asyncio.Task[Any]] = []
        self._closed = False

    def open(self) -> None:
        """Call every agent of these channels from now on, also those that will come."""
        self._home.lifecycle.channels |= self._kinds.keys()
        for agent in self._home.lifecycle.watch(self._changed):
            self._changed(None, agent)
        self._cycles = [
            self._home.every(TICK_SECONDS, self._tick),
            self._home.every(self._home.heartbeat_seconds, self._renew),
        ]

    async def close(self, seconds: float) -> None:
        """Begin no call, give those under way so much time, then give them back."""
        self._closed = True
        for cycle in self._cycles:
            cycle.cancel()
        agents = list(self._agents.values())
        emptied = asyncio.Event()
        for agent in agents:
            agent.finish(lambda: self._calling() or emptied.set())
        if self._calling():
            await self._home.clock.wait(emptied, seconds)
        for agent in agents:
            agent.close("the server is stopping")

    def _calling(self) -> bool:
        return any(agent.calling for agent in self._agents.values())

    def _changed(self, before: Agent | None, agent: Agent | None) -> None:
        """After the commit of any change of any agent."""
        now = agent or before
        assert now is not None
        kind = self._kinds.get(agent.channel) if agent is not None else None
        if kind is None:
            self._registered.pop(now.agent_id, None)
        else:
            self._registered[now.agent_id] = now
        known = self._agents.get(now.agent_id)
        if known is not None and (kind is None or known.agent.channel != now.channel):
            self._leave(known)
            known = None
        if kind is None or self._closed or not self._home.leads:
            return
        if known is not None:
            known.changed(known.agent, now)
            return
        self._agents[now.agent_id] = made = kind(now, self._home)
        self._join(made)

    def _leave(self, agent: PushAgent) -> None:
        del self._agents[agent.agent.agent_id]
        self._home.spawn(agent.leave())

    def _join(self, agent: PushAgent) -> None:
        self._joining.add(agent.agent.agent_id)
        self._home.spawn(self._joined(agent))

    async def _joined(self, agent: PushAgent) -> None:
        try:
            await agent.join()
        except OpsCoreError as error:
            # It is gone, or the store refused; the next tick tries again while it is known.
            log.warning("push_agent_not_seated", agent_id=agent.agent.agent_id, error=str(error))
        finally:
            self._joining.discard(agent.agent.agent_id)
        if self._agents.get(agent.agent.agent_id) is not agent or self._closed:
            await agent.leave()

    async def _tick(self) -> None:
        """Circuits half-open and beliefs end by time alone; so does it who calls."""
        if not self._home.leads:
            for agent in list(self._agents.values()):
                self._leave(agent)
            return
        for registered in [a for i, a in self._registered.items() if i not in self._agents]:
            self._changed(registered, registered)
        for agent in list(self._agents.values()):
            if agent.seated:
                agent.refresh()
            elif agent.agent.agent_id not in self._joining:
                self._join(agent)

    async def _renew(self) -> None:
        for agent in list(self._agents.values()):
            self._home.spawn(agent.renew())
