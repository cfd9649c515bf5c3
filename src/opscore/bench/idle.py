"""The memory of a server to which 1,000 idle agents are connected.

A thousand different agents, each with one WebSocket that beats as an agent does, held by one other
process; the server is `opscore serve` on a database file.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from opscore.bench.children import ChildGone, child, end
from opscore.bench.common import database, figure, figures
from opscore.bench.memory import memory_of
from opscore.bench.server import KEY
from opscore.engine.settings import Settings

AGENTS, FEW_AGENTS = 1_000, 100


async def main(quick: bool) -> dict[str, Any]:
    """Measure; `quick` shows only that it works."""
    count = FEW_AGENTS if quick else AGENTS
    settle = 1.0 if quick else 4 * Settings().heartbeat_seconds
    async with database() as folder, served(folder) as (pid, url):
        empty = memory_of(pid)
        async with child("opscore.bench.idlers", url, KEY) as idlers:
            connected = await idlers.ask("connect", count=count)
            arrived = memory_of(pid)
            await asyncio.sleep(settle)
            idle, counts = memory_of(pid), await idlers.ask("counts")
    assert connected == counts["connected"] == count, counts
    return figures(
        "idle",
        "MB",
        idle["rss"],
        settings={"agents": count, "seconds": settle, "fsync": "full"},
        figures=[
            *(figure(f"{name}, {count:,} idle agents", "MB", mb) for name, mb in idle.items()),
            *(figure(f"{name}, no agents", "MB", mb) for name, mb in empty.items()),
            figure("rss, when the last has connected", "MB", arrived["rss"]),
            figure("for each agent", "kB", (idle["rss"] - empty["rss"]) * 1000 / count),
            figure("agents expected", "agents", count),
            figure("agents connected", "agents", counts["connected"]),
            figure("heartbeats sent meanwhile", "heartbeats", counts["heartbeats"]),
        ],
    )


@asynccontextmanager
async def served(folder: Path) -> AsyncGenerator[tuple[int, str]]:
    """`opscore serve` on a free port; its process id and its URL."""
    command = ("-m", "opscore.cli", "serve", "--port", "0")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        "--database-url",
        f"sqlite:///{folder / 'idle.db'}",
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={
            **os.environ,
            "OPSCORE_API_KEY": KEY,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        },
    )
    try:
        yield process.pid, await _listening(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await end(process)


async def _listening(process: asyncio.subprocess.Process) -> str:
    """The URL, from the line that the server logs once it accepts connections."""
    assert process.stderr is not None
    said = b""
    while line := await process.stderr.readline():
        said += line
        if b'"listening"' in line:
            return str(msgspec.json.decode(line)["url"])
    raise ChildGone(f"the server did not start: {said.decode()}")
