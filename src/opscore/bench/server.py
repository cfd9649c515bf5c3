"""The server under measurement: what `opscore serve` runs, in a process of its own.

It keeps what it commits, so that the same rows can be written bare when the measurement is over.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from opscore.api.loop import run_on_loop
from opscore.api.server import listen, serve
from opscore.api.settings import ServerSettings
from opscore.bench.children import Child, answer, child
from opscore.bench.common import RecordingStore, raw_limit
from opscore.bench.load import Load
from opscore.engine.clock import SystemClock
from opscore.engine.engine import Engine
from opscore.engine.settings import Settings
from opscore.telemetry.logs import configure

KEY = "the-key-of-a-measurement-on-loopback"


@asynccontextmanager
async def server(folder: Path, keep: int) -> AsyncGenerator[tuple[Child, str]]:
    """A server on a database file in `folder`; the process and its URL."""
    async with child(__name__, str(folder), str(keep)) as process:
        yield process, await process.ask("url")


async def main(folder: Path, keep: int) -> None:
    """Serve until the input ends."""
    configure("warning", "json")
    store = RecordingStore(folder / "server.db", keep)
    engine = await Engine.start(store, SystemClock(), random.Random(), Settings())
    listener = listen("127.0.0.1", 0)
    url = asyncio.get_running_loop().create_future()
    load = Load(engine)
    await load.prepare()

    async def told() -> str:
        return await url

    async def commits() -> int:
        return store.commits

    async def raw() -> float:
        await stop()
        return await raw_limit(store.kept, folder / "raw.db")

    async def stop() -> None:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    async with asyncio.TaskGroup() as group:
        settings = ServerSettings(port=0, api_key=KEY, key_requests=1_000_000)
        serving = group.create_task(serve(engine, settings, listener, ready=url.set_result))
        await answer({"url": told, "run": load.run, "commits": commits, "rawLimit": raw})
        await stop()


if __name__ == "__main__":
    run_on_loop(main(Path(sys.argv[1]), int(sys.argv[2])))
