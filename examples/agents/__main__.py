"""All agents of the examples in one process: `python examples/agents`, with a server running."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from opscore.sdk import Agent

sys.path.insert(0, str(Path(__file__).parent))

import files
import library
import operations
import providers
import shop
import training

MODULES = (files, library, operations, providers, shop, training)
AGENTS: list[Agent] = [agent for module in MODULES for agent in module.AGENTS]


async def serve() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    async with asyncio.TaskGroup() as group:
        for agent in AGENTS:
            group.create_task(agent.serve())
        print(f"{len(AGENTS)} agents; Ctrl-C stops them", flush=True)
        await told.wait()
        for agent in AGENTS:
            group.create_task(agent.stop(drain_seconds=5))


if __name__ == "__main__":
    asyncio.run(serve())
