"""One process of an agent, written with the public SDK, whose work is nothing."""

from __future__ import annotations

import asyncio
import logging
import sys

from opscore.api.loop import run_on_loop
from opscore.bench.children import answer
from opscore.bench.load import CAPABILITY
from opscore.sdk import Agent


async def pass_on(number: int) -> int:
    """Give the number back."""
    return number


async def main(url: str, key: str, max_in_flight: int) -> None:
    """Serve until the input ends."""
    logging.basicConfig(level=logging.WARNING)
    agent = Agent("worker", max_in_flight=max_in_flight, url=url, api_key=key)
    agent.task(CAPABILITY)(pass_on)
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.serve())
        await answer({})
        await agent.stop(drain_seconds=1)


if __name__ == "__main__":
    run_on_loop(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
