"""Tasks over plain HTTP from a client process: create a session, claim its task, settle it.

First as three calls for each task, over many connections; then the same in batches of a hundred.
"""

from __future__ import annotations

import time
from typing import Any

from opscore.bench.children import Child, child
from opscore.bench.common import database, figure, figures
from opscore.bench.server import KEY, server

CONNECTIONS = 50
BATCH = 100
COMMANDS_KEPT = 15_000


async def main(quick: bool) -> dict[str, Any]:
    """Measure; `quick` shows only that it works."""
    single, batches = (500, 10) if quick else (20_000, 1_000)
    async with database() as folder, server(folder, COMMANDS_KEPT) as (process, url):
        async with child("opscore.bench.callers", url, KEY, "client") as client:
            await client.ask("connect", connections=CONNECTIONS)
            # Warms everything up, and gives the rows for the raw limit.
            await measure(process, client, COMMANDS_KEPT // 3 // BATCH, BATCH)
            one = await measure(process, client, single, 1)
            many = await measure(process, client, batches, BATCH)
        raw = await process.ask("rawLimit")
    return figures(
        "http",
        "tasks/s",
        one["rate"],
        p50Ms=round(one["p50Ms"], 3),
        p99Ms=round(one["p99Ms"], 3),
        # A task is three commands: the start of its session, a claim, a settlement.
        rawLimit=raw / 3,
        settings={
            "tasks": single,
            "connections": CONNECTIONS,
            "batchedTasks": batches * BATCH,
            "batch": BATCH,
            "fsync": "full",
        },
        figures=[
            *shown("three calls each", one, single),
            *shown(f"batches of {BATCH}", many, batches * BATCH),
        ],
    )


async def measure(server: Child, client: Child, rounds: int, size: int) -> dict[str, float]:
    """One run: tasks per second, and what both sides spent."""
    cpu, commits = await server.cpu(), await server.ask("commits")
    began = time.perf_counter()
    found: dict[str, float] = await client.ask("run", rounds=rounds, size=size)
    seconds = time.perf_counter() - began
    found["server"] = await server.cpu() - cpu
    found["commits"] = await server.ask("commits") - commits
    return {**found, "rate": rounds * size / seconds}


def shown(name: str, run: dict[str, float], tasks: int) -> list[dict[str, Any]]:
    """The figures of one run."""
    return [
        figure(name, "tasks/s", run["rate"]),
        figure(f"{name}, p50", "ms", run["p50Ms"]),
        figure(f"{name}, p99", "ms", run["p99Ms"]),
        figure(f"{name}, tasks started", "tasks", tasks),
        figure(f"{name}, tasks recorded", "tasks", run["recorded"]),
        figure(f"{name}, server cpu per task", "µs", run["server"] / tasks * 1e6),
        figure(f"{name}, client cpu per task", "µs", run["cpu"] / tasks * 1e6),
        figure(f"{name}, commands per commit", "commands", 3 * tasks / run["commits"]),
    ]
