"""Agents of the simulation that claim and settle by requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from opscore.core.types import ErrorInfo
from opscore.engine.engine import Engine
from opscore.engine.records import SettlementReport
from tests.torture.agents import Attempt, Held, Instance
from tests.torture.network import Lost, Reply


class Polling(Instance):
    """Claims and settles by requests."""

    streams = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._due = asyncio.Event()

    async def serve(self) -> None:
        await self.register()
        for held in self.held.values():
            self.report(held)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._claim())
                group.create_task(self._settle())
                group.create_task(self._beat())
        except* Lost:
            self._due.set()
            raise Lost from None

    async def _claim(self) -> None:
        holding: list[Attempt] | None = [*self.held]
        while True:
            await self.thawed()
            if len(self.held) >= self.slots:
                await asyncio.sleep(0.2)
                continue
            listed = holding

            async def work(engine: Engine, listed: list[Attempt] | None = listed) -> Reply:
                found = await engine.orchestration.claim(
                    self.agent_id,
                    instance_id=self.instance,
                    max=self.slots - len(self.held),
                    wait_seconds=5.0,
                    holding=listed,
                )
                return Reply(200, {"tasks": [_shown(each) for each in found]})

            try:
                reply = await self.ask(work)
            except Lost:
                holding = [*self.held]
                raise
            holding = None
            if reply.status == 404:
                await self.register()
            for task in reply.body.get("tasks", ()):
                self.take(task)

    async def _settle(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await self.thawed()
            for attempt, held in [*self.held.items()]:
                if held.settlement is not None:
                    await self._tell(attempt, held.settlement)

    async def _tell(self, attempt: Attempt, settlement: dict[str, Any]) -> None:
        report = _report(settlement)

        async def work(engine: Engine) -> Reply:
            found = await engine.orchestration.settle([report], agent_id=self.agent_id)
            return Reply(200, {"verdicts": [_verdict(each) for each in found]})

        for _ in range(2 if self.chance.random() < self.habits.repeats else 1):
            reply = await self.ask(work)
            self.judged(reply.body["verdicts"], {attempt: report.outcome})

    def report(self, held: Held) -> None:
        self._due.set()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.habits.beat)
            await self.thawed()
            attempts = [a for a, held in self.held.items() if held.settlement is None]
            at = self.now

            async def work(engine: Engine, attempts: list[Attempt] = attempts) -> Reply:
                stale = await engine.lifecycle.heartbeat(self.agent_id, self.instance, attempts)
                return Reply(202, {"stale": stale})

            reply = await self.ask(work)
            if reply.status == 202:
                stale = [(task, attempt) for task, attempt in reply.body["stale"]]
                for attempt in attempts:
                    if attempt not in stale:
                        self.write("beat", attempt, at=at)
                    else:
                        self.stop(attempt, "stale")


def _shown(claimed: Any) -> dict[str, Any]:
    return {
        "taskId": claimed.task_id,
        "attempt": claimed.attempt,
        "idempotencyKey": claimed.idempotency_key,
        "input": json.loads(bytes(claimed.input)),
    }


def _report(settlement: Mapping[str, Any]) -> SettlementReport:
    error = settlement.get("error")
    return SettlementReport(
        settlement["taskId"],
        settlement["attempt"],
        settlement["outcome"],
        msgspec.Raw(msgspec.json.encode(settlement.get("output"))),
        error=None if error is None else ErrorInfo(error["class"], error["message"]),
    )


def _verdict(record: Any) -> dict[str, Any]:
    return {"taskId": record.task_id, "attempt": record.attempt, "verdict": record.verdict}
