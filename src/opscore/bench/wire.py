"""One-step sessions through agents in other processes, over WebSocket.

From the moment the engine is asked to start a session to the commit that records its completion.
Sessions are started in the server's process by the verbs that the routes call; claims, attempts and
settlements travel over the wire to agents written with the public SDK.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from opscore.bench.children import Child, child, total_cpu
from opscore.bench.common import database, figure, figures
from opscore.bench.server import KEY, server

AGENTS = 2
IN_FLIGHT = 500
LANES = 20
BATCH = 50
COMMANDS_KEPT = 15_000


async def main(quick: bool) -> dict[str, Any]:
    """Measure; `quick` shows only that it works."""
    many, single = (2_000, 100) if quick else (60_000, 3_000)
    async with database() as folder, server(folder, COMMANDS_KEPT) as (process, url):
        async with agents(url) as workers:
            # The first sessions wait for the agents to connect, warm everything up, and give the
            # rows for the raw limit.
            await process.ask("run", count=COMMANDS_KEPT // 3, lanes=LANES, batch=BATCH)
            one = await process.ask("run", count=single, lanes=1, batch=1)
            before = await total_cpu(workers)
            loaded = await process.ask("run", count=many, lanes=LANES, batch=BATCH)
            agents_cpu = await total_cpu(workers) - before
        raw = await process.ask("rawLimit")
    return figures(
        "wire",
        "sessions/s",
        many / loaded["seconds"],
        p50Ms=round(one["p50Ms"], 3),
        p99Ms=round(one["p99Ms"], 3),
        # A session is three commands: its start, a claim, a settlement.
        rawLimit=raw / 3,
        settings={
            "sessions": many,
            "agentProcesses": AGENTS,
            "concurrent": LANES * BATCH,
            "batch": BATCH,
            "oneAtATime": single,
            "fsync": "full",
        },
        figures=[
            figure("one at a time, p50", "ms", one["p50Ms"]),
            figure("one at a time, p99", "ms", one["p99Ms"]),
            figure("under load, p50", "ms", loaded["p50Ms"]),
            figure("under load, p99", "ms", loaded["p99Ms"]),
            figure("sessions started", "sessions", single + many),
            figure("sessions completed", "sessions", one["completed"] + loaded["completed"]),
            figure("server cpu per session", "µs", loaded["cpu"] / many * 1e6),
            figure("agents cpu per session", "µs", agents_cpu / many * 1e6),
        ],
    )


@asynccontextmanager
async def agents(url: str) -> AsyncGenerator[list[Child]]:
    """The processes of the agent."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(child("opscore.bench.agents", url, KEY, str(IN_FLIGHT)))
            for _ in range(AGENTS)
        ]
