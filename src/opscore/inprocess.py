"""Ops-Core without a server: `async with opscore.open("sqlite:///ops.db") as ops`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from opscore.channels.called import PushChannels
from opscore.channels.local import Function, LocalAgent
from opscore.engine.debugging import Debugging
from opscore.engine.engine import Engine
from opscore.engine.feed import Feed
from opscore.engine.hooks import Hooks
from opscore.engine.lifecycle import Lifecycle
from opscore.engine.orchestration import Orchestration
from opscore.engine.settings import Settings

DRAIN_SECONDS = 5.0
"""How long calls to agents may take when the block is left."""


@dataclass(frozen=True, slots=True)
class Operations:
    """The verbs, and what tells of changes.

    `hooks.on("session.failed", call)` calls a function with every such event after its commit;
    `feed.subscribe(session_id=…)` is an async iterator of events.
    """

    lifecycle: Lifecycle
    orchestration: Orchestration
    debugging: Debugging
    hooks: Hooks
    feed: Feed
    engine: Engine

    async def agent(
        self, name: str, functions: Mapping[str, Function], *, max_in_flight: int = 16
    ) -> LocalAgent:
        """Register functions of this process as an agent: capability → function.

        A function takes the decoded input and returns the output; coroutine functions run on the
        loop, others in threads. The agent leaves with `await agent.leave()`, or with the engine.
        """
        agent = LocalAgent(name, functions, self.engine)
        await agent.join(max_in_flight)
        return agent


@asynccontextmanager
async def open(  # noqa: A001 - it is called as opscore.open
    url: str = "sqlite:///ops.db", *, settings: Settings | None = None
) -> AsyncGenerator[Operations]:
    """Open a database and work on it in this process until the block is left.

    `url`: `sqlite:///FILE` or `sqlite:///:memory:`. Raises StoreRefused when the file is in use,
    damaged, or newer than this program.
    """
    engine = await Engine.open(url, settings=settings)
    push = PushChannels(engine)
    push.open()
    try:
        yield Operations(
            engine.lifecycle,
            engine.orchestration,
            engine.debugging,
            engine.hooks,
            engine.feed,
            engine,
        )
    finally:
        await push.close(DRAIN_SECONDS)
        await engine.close()
