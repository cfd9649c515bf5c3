"""Long-polling, for networks that let no WebSocket through.

A cancel cannot be pushed here: it arrives as `stale` with the heartbeat after the server's grace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import cast

from opscore.sdk.attempts import Attempts
from opscore.sdk.calls import Calls
from opscore.sdk.errors import OpsCoreProblem, ServerUnreachable
from opscore.sdk.outbox import Outbox
from opscore.sdk.server import segment
from opscore.wire.agent import Claimed, ClaimTasks
from opscore.wire.log import LevelWord, ShipLogs, ShippedRecord
from opscore.wire.stream import Log, Progress
from opscore.wire.task import AttemptProgress, SettleTasks, Verdicts

logger = logging.getLogger("opscore.agent")

WAIT_SECONDS = 20.0
MAX_CLAIM = 500
SHIPPED_AT_ONCE = 500


class Polling:
    """Claims and settles over HTTP until a call fails."""

    def __init__(
        self, calls: Calls, agent_id: str, instance_id: str, attempts: Attempts, outbox: Outbox
    ) -> None:
        self._calls = calls
        self._agent_id = agent_id
        self._instance_id = instance_id
        self._attempts = attempts
        self._outbox = outbox

    async def work(self, max_in_flight: int, leaving: asyncio.Event) -> None:
        """Claim until `leaving`, settle until cancelled; raises what a call raised."""
        self._attempts.resend()
        try:
            async with asyncio.TaskGroup() as group:
                claimer = group.create_task(self._claim(max_in_flight))
                group.create_task(self._settle())
                await leaving.wait()
                claimer.cancel()
        except* (ServerUnreachable, OpsCoreProblem) as errors:
            raise errors.exceptions[0] from None

    async def _claim(self, max_in_flight: int) -> None:
        # The first claim lists what we hold: what the server thinks we have beyond it (an answer
        # that never arrived) returns to the queue.
        holding = self._attempts.holding()
        while True:
            await self._attempts.fewer_running_than(max_in_flight)
            free = max_in_flight - self._attempts.running
            claimed = await self._calls.post(
                f"/agent/{segment(self._agent_id)}/claim",
                ClaimTasks(
                    instance_id=self._instance_id,
                    max=min(free, MAX_CLAIM),
                    wait_seconds=WAIT_SECONDS,
                    holding=holding,
                ),
                Claimed,
                timeout=WAIT_SECONDS + 10,
            )
            holding = None
            self._attempts.accept(claimed.tasks)

    async def _settle(self) -> None:
        while True:
            await self._outbox.filled()
            while settlements := self._outbox.take_settlements():
                body = SettleTasks(settlements=settlements)
                answer = await self._calls.post("/task/settle", body, Verdicts)
                self._attempts.verdicts(answer.verdicts)
            await self._say(self._outbox.take_notes())

    async def _say(self, notes: Sequence[Progress | Log]) -> None:
        records = [_shipped(note) for note in notes if isinstance(note, Log)]
        for start in range(0, len(records), SHIPPED_AT_ONCE):
            body = ShipLogs(agent=self._agent_id, records=records[start : start + SHIPPED_AT_ONCE])
            try:
                await self._calls.send("POST", "/log", body=body)
            except OpsCoreProblem as problem:
                logger.debug("log records not taken: %s", problem)
        for note in notes:
            if isinstance(note, Progress):
                await self._progress(note)

    async def _progress(self, note: Progress) -> None:
        body = AttemptProgress(attempt=note.attempt, fraction=note.fraction, message=note.message)
        try:
            await self._calls.send("POST", f"/task/{segment(note.task_id)}/progress", body=body)
        except OpsCoreProblem as problem:
            logger.debug("progress of %s not taken: %s", note.task_id, problem)


def _shipped(note: Log) -> ShippedRecord:
    return ShippedRecord(
        message=note.message,
        level=cast("LevelWord", note.level),
        operation=note.operation,
        at=note.at,
        task_id=note.task_id,
        attempt=note.attempt,
        trace_id=note.trace_id,
        span_id=note.span_id,
        error_type=note.error_type,
        context=note.fields,
    )
