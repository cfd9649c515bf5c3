"""An agent of the tests with real processes: the public SDK, and a ledger of what it did.

python -m tests.torture.worker NAME INSTANCE TRANSPORT LEDGER SEED
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, cast

from opscore.sdk import Agent, Fatal, Retryable, Task

SLOTS = 4
FAILS, FATAL = 0.08, 0.1
"""Up to these numbers a die decides: try again, or never."""


class Ledger:
    """Every line is with the operating system before anything else happens."""

    def __init__(self, path: Path, instance: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._instance = instance

    def write(self, did: str, task: Task | None = None, **more: Any) -> None:
        """Note what is done."""
        which = {} if task is None else {"task": task.task_id, "attempt": task.attempt}
        at = time.time_ns() // 1000
        told = {"did": did, "instance": self._instance, "at": at, **which, **more}
        os.write(self._file, json.dumps(told).encode() + b"\n")


def made(name: str, instance: str, transport: str, ledger: Ledger, chance: Random) -> Agent:
    """The agent with its functions."""
    agent = Agent(name, max_in_flight=SLOTS, instance_id=instance, transport=cast("Any", transport))

    async def do(task: Task) -> dict[str, str]:
        ledger.write("began", task)
        dice = chance.random()
        await asyncio.sleep(chance.random() * 0.1)
        if dice < FAILS:
            raise Retryable("not yet", after=0.2)
        if dice < FATAL:
            raise Fatal("no")
        ledger.write("effect", task, key=task.idempotency_key)
        return {"by": instance}

    @agent.task("work")
    async def work(task: Task, n: int = 0, why: str = "") -> dict[str, str]:
        del n, why
        return await do(task)

    @agent.task("other")
    async def other(task: Task) -> dict[str, str]:
        return await do(task)

    del work, other
    return agent


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop."""
    name, instance, transport, path, seed = arguments
    ledger = Ledger(Path(path), instance)
    if transport == "stream":  # who polls counts its slots itself
        ledger.write("connected", slots=SLOTS)
    made(name, instance, transport, ledger, Random(int(seed))).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
