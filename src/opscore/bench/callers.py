"""A client process that creates sessions, claims their tasks and settles them, over HTTP."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from opscore.api.loop import run_on_loop
from opscore.bench.children import answer
from opscore.bench.common import percentile
from opscore.bench.lean import LeanConnection, connect
from opscore.bench.load import CAPABILITY, ONE_STEP

BASE = "/v1/opscore"
WAIT_SECONDS = 20
_encode = msgspec.json.Encoder().encode


class Caller:
    """One connection, and what was done over it."""

    def __init__(self, connection: LeanConnection, agent_id: str, instance_id: str) -> None:
        self._connection = connection
        self._claim_path = f"{BASE}/agent/{agent_id}/claim"
        self._instance_id = instance_id
        self.recorded = 0
        self.milliseconds: list[float] = []

    async def singly(self, numbers: Iterator[int]) -> None:
        """One session, one claim, one settlement, three calls; and so on."""
        for number in numbers:
            began = time.perf_counter()
            body = {"workflow": ONE_STEP, "input": {"number": number}}
            await self._connection.post(f"{BASE}/session", _encode(body))
            for task in await self._claim(1):
                settled = {"attempt": task["attempt"], "output": task["input"]["number"]}
                path = f"{BASE}/task/{task['taskId']}/complete"
                verdict = await self._connection.post(path, _encode(settled))
                self.recorded += verdict["verdict"] == "recorded"
            self.milliseconds.append((time.perf_counter() - began) * 1000)

    async def in_batches(self, numbers: Iterator[int], size: int) -> None:
        """As many sessions, claims and settlements, but `size` of them in every call."""
        for _ in numbers:
            began = time.perf_counter()
            sessions = [{"workflow": ONE_STEP, "input": {"number": n}} for n in range(size)]
            await self._connection.post(f"{BASE}/session/batch", _encode({"sessions": sessions}))
            left = size
            while left:
                tasks = await self._claim(left)
                await self._settle(tasks)
                left -= len(tasks)
            self.milliseconds.append((time.perf_counter() - began) * 1000)

    async def _claim(self, number: int) -> list[dict[str, Any]]:
        """At least one task: a session that is there for each that is asked for."""
        body = {"instanceId": self._instance_id, "max": number, "waitSeconds": WAIT_SECONDS}
        found: list[dict[str, Any]] = []
        while not found:
            found = (await self._connection.post(self._claim_path, _encode(body)))["tasks"]
        return found

    async def _settle(self, tasks: list[dict[str, Any]]) -> None:
        settlements = [
            {
                "taskId": task["taskId"],
                "attempt": task["attempt"],
                "outcome": "completed",
                "output": task["input"]["number"],
            }
            for task in tasks
        ]
        answered = await self._connection.post(
            f"{BASE}/task/settle", _encode({"settlements": settlements})
        )
        self.recorded += sum(one["verdict"] == "recorded" for one in answered["verdicts"])


class Callers:
    """All connections of this process."""

    def __init__(self, url: str, key: str, name: str) -> None:
        self._url, self._key, self._name = url, key, name
        self._callers: list[Caller] = []

    async def connect(self, connections: int) -> int:
        """Open them; each is an instance of the one agent."""
        for number in range(connections):
            connection = await connect(self._url, self._key)
            body = {"agentName": "caller", "capabilities": [CAPABILITY]}
            agent = await connection.post(f"{BASE}/agent", _encode(body))
            caller = Caller(connection, agent["agentId"], f"{self._name}-{number}")
            self._callers.append(caller)
        return connections

    async def run(self, rounds: int, size: int) -> dict[str, Any]:
        """Do `rounds` rounds, shared by the connections, of one task or of a batch of `size`."""
        for caller in self._callers:
            caller.recorded = 0
            caller.milliseconds.clear()
        numbers = iter(range(rounds))
        cpu = time.process_time()
        async with asyncio.TaskGroup() as group:
            for caller in self._callers:
                work = caller.singly(numbers) if size == 1 else caller.in_batches(numbers, size)
                group.create_task(work)
        times = sorted(ms for caller in self._callers for ms in caller.milliseconds)
        return {
            "recorded": sum(caller.recorded for caller in self._callers),
            "cpu": time.process_time() - cpu,
            "p50Ms": percentile(times, 0.5),
            "p99Ms": percentile(times, 0.99),
        }


async def main(url: str, key: str, name: str) -> None:
    """Answer until the input ends."""
    callers = Callers(url, key, name)
    await answer({"connect": callers.connect, "run": callers.run})


if __name__ == "__main__":
    run_on_loop(main(*sys.argv[1:4]))
