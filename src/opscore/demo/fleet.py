"""A server and its agents, each a process of its own, reached as anybody would reach them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from opscore.demo.processes import SERVER, Child, Processes, free_port
from opscore.demo.settings import LEASE_SECONDS, MEASURERS, PAYLOAD_LIMIT, READY_SECONDS
from opscore.sdk.client import Client
from opscore.sdk.errors import OpsCoreProblem, ServerUnreachable
from opscore.wire.agent import AgentView, InstanceView

T = TypeVar("T")
LOOK_SECONDS = 0.05


class NotReady(Exception):
    """The server or its agents did not come up in time; the text says who is missing."""


class Fleet:
    """Starts everything in `directory` and knows which process is which."""

    def __init__(self, directory: Path) -> None:
        self.database = directory / "ops.db"
        self.database_url = f"sqlite:///{self.database}"
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.api_key = secrets.token_hex(32)
        self.processes = Processes(
            directory,
            {
                "OPSCORE_URL": self.url,
                "OPSCORE_API_KEY": self.api_key,
                "OPSCORE_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
                "OPSCORE_PAYLOAD_LIMIT": str(PAYLOAD_LIMIT),
            },
        )
        self.client = Client(self.url, self.api_key)
        self.agents: list[Child] = []
        self.server: Child | None = None

    @property
    def measurers(self) -> list[Child]:
        """The measurer's processes that are alive."""
        return [child for child in self.agents if child.name.startswith("measurer") and child.alive]

    def start_server(self) -> Child:
        """The real `opscore serve`, on the same port and file every time."""
        words = ("serve", "--database-url", self.database_url, "--port", str(self._port))
        self.server = self.processes.start(SERVER, "opscore", *words)
        return self.server

    def start_agents(self) -> None:
        """One process for each role, three for the measurer: one agent with three instances."""
        roles = ["scanner", *["measurer"] * MEASURERS, "careful-measurer", "reporter"]
        for number, role in enumerate(roles):
            name = f"{role}-{number}" if role == "measurer" else role
            self.agents.append(self.processes.start(name, "opscore.demo.agents", role, name))

    async def ready(self) -> None:
        """Wait for a server that takes work. Raises `Died`, `NotReady`."""
        await self._within(self._is_ready, "the server")

    async def _is_ready(self) -> bool:
        await self.client.ready()
        return True

    async def connected(self, since: str = "") -> list[InstanceView]:
        """Wait until every living agent process is connected, after the time `since`."""
        found: list[InstanceView] = []

        async def all_there() -> bool:
            wanted = {child.name for child in self.agents if child.alive}
            every = [one for agent in await self.look() for one in agent.instances]
            found[:] = [
                one
                for one in every
                if one.online and one.instance_id in wanted and (one.connected_at or "") >= since
            ]
            return len(found) == len(wanted)

        await self._within(all_there, "the agents")
        return found

    async def look(self) -> list[AgentView]:
        """The agents as the server knows them, in the order of their names."""
        page = await self.client.agents.list(limit=50)
        return sorted(page.agents, key=lambda agent: agent.agent_name)

    async def asked(self, call: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question, waited for while the server is away."""
        answers: list[T] = []

        async def ask() -> bool:
            answers.append(await call())
            return True

        await self._within(ask, "the server")
        return answers[0]

    async def _within(self, holds: Callable[[], Awaitable[bool]], who: str) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await _answers(holds):
                    self.processes.check()
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise NotReady(f"{who} did not come up within {READY_SECONDS:g} s") from None


async def _answers(holds: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await holds()
    except ServerUnreachable:
        return False
    except OpsCoreProblem as problem:
        if problem.status != 503:  # it is there, and not ready yet
            raise
        return False
