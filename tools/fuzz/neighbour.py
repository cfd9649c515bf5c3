"""An agent that works beside the fuzz of the WebSockets, and must notice nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from opscore.sdk import Agent, Client, Task

NAME = "neighbour"
RESULT_SECONDS = 60.0
WORK_SECONDS = 0.02


class Disturbed(Exception):
    """The neighbour did not get what is its own."""


class Neighbour:
    """One task after the other; `present` is the attempt that it works on."""

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._agent = Agent(NAME, url=client.url, api_key=key)
        self._agent.task(NAME)(self._work)
        self._over = asyncio.Event()
        self.present: tuple[str, int] = ("tsk_none", 1)
        self.done = 0

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None, None]:
        """Work as long as the block runs. Raises `Disturbed`, within a group."""
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(self._agent.serve())
            asking = group.create_task(self._ask())
            try:
                yield
            finally:
                self._over.set()
                await asyncio.wait({asking})
                serving.cancel()

    async def _work(self, n: int, task: Task) -> dict[str, int]:
        self.present = (task.task_id, task.attempt)
        await asyncio.sleep(WORK_SECONDS)
        return {"n": n}

    async def _ask(self) -> None:
        while not self._over.is_set():
            made = await self._client.tasks.enqueue(NAME, {"n": self.done})
            result = await self._client.run(made.session_id).result(RESULT_SECONDS)
            task = await self._client.tasks.get(made.task_id)
            if result != {"n": self.done} or task.attempt != 1:
                raise Disturbed(f"{made.task_id} gave {result} with attempt {task.attempt}")
            self.done += 1
