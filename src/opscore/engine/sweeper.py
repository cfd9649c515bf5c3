"""What time brings: expired leases, due tasks, queue timeouts, ends of waits, schedules, deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from opscore.core import commands as cmd
from opscore.core.errors import OpsCoreError, Refusal, Unavailable
from opscore.core.template import Target
from opscore.core.types import SECOND, Micros
from opscore.core.why import Taker
from opscore.core.why_words import limit_full, nobody
from opscore.engine.clock import Clock
from opscore.engine.projection import queue_target
from opscore.engine.requests import Expire, OnSession
from opscore.engine.schedules import Fire, Key, ScheduleBook
from opscore.engine.unit import Unit
from opscore.engine.writer import Command, Nothing, Writer
from opscore.store.rows import ReadyRow
from opscore.store.store import DueWork, Store

LONGEST_SLEEP: Micros = 1 * SECOND
AT_ONCE = 500

log = structlog.get_logger("opscore.sweeper")


class Sweeper:
    """Wakes when the next deadline is near, and at least once a second.

    `takers` gives, for a namespace and a target, who could take its tasks.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        clock: Clock,
        chance: Callable[[], float],
        takers: Callable[[str, Target], Sequence[Taker]],
        schedules: ScheduleBook,
        fire: Callable[[Key], Fire],
    ) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._chance = chance
        self._takers = takers
        self._schedules = schedules
        self._fire = fire
        self._next: Micros = 0
        self._sooner = asyncio.Event()

    def committed(self, unit: Unit) -> None:
        """A commit may have brought a deadline that comes sooner than the one slept for."""
        changes = unit.changes
        soonest = min(
            [row.due for row in changes.delayed.values()]
            + [row.expires_at for row in changes.ready.values() if row.expires_at is not None]
            + [row.due for row in changes.timers.values()]
            + [row.next_at for row in changes.schedules.values() if row.next_at is not None]
            + [
                row.expires_at
                for row in changes.limits.gated.values()
                if row.expires_at is not None
            ]
            + [row.deadline for row in changes.leases.values() if row.deadline is not None]
            + [row.deadline for row in changes.sessions.values() if row.deadline is not None],
            default=None,
        )
        if self._schedules.committed(unit):
            soonest = 0
        opens = self._writer.gates.next_at
        if opens is not None and (soonest is None or opens < soonest):
            soonest = opens
        if soonest is not None and soonest < self._next:
            self._next = soonest
            self._sooner.set()

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            # Set before the sweep: what a commit brings meanwhile may come sooner.
            self._next = self._store.now() + LONGEST_SLEEP
            try:
                due = await self.sweep()
            except OpsCoreError as error:
                log.error("sweep_failed", error=str(error))
                due = None
            await self._sleep(due)

    async def _sleep(self, due: DueWork | None) -> None:
        """`due` None: something could not be carried out and will still be due after the pause."""
        if due is None:
            self._next = self._store.now() + LONGEST_SLEEP
        else:
            times = [due.next_at, self._schedules.next_at(), self._writer.gates.next_at]
            self._next = min([self._next, *(at for at in times if at is not None)])
        while (left := self._next - self._store.now()) > 0:
            self._sooner.clear()
            await self._clock.wait(self._sooner, left / SECOND)

    async def sweep(self) -> DueWork | None:
        """Carry out what is due now; answers with what was found, or None after a failure."""
        due = await self._store.due(self._store.now(), AT_ONCE)
        commands: list[Command[object]] = [Expire(row, self._chance()) for row in due.leases]
        commands += [OnSession(s, _come_due(t)) for t, s in due.delayed]
        commands += [self._queue_timeout(row) for row in due.expired]
        commands += [OnSession(row.session_id, cmd.TimerDue(row.step)) for row in due.timers]
        commands += [OnSession(s, cmd.DeadlinePassed()) for s in due.sessions]
        commands += [self._fire(key) for key in self._schedules.due(self._store.now())]
        opens = self._writer.gates.next_at
        if opens is not None and opens <= self._store.now():
            commands.append(Nothing())
        futures = [self._writer.submit(command) for command in commands]
        failed = False
        for outcome in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(outcome, Refusal) and not isinstance(outcome, Unavailable):
                log.debug("sweep_refused", detail=outcome.detail)
            elif isinstance(outcome, BaseException):
                log.error("sweep_command_failed", exc_info=outcome)
                failed = True
        return None if failed else due

    def _queue_timeout(self, row: ReadyRow) -> OnSession:
        target = queue_target(row.queue)
        shut = self._writer.gates.shut(row.task_id, self._store.now())
        if shut is not None and shut.until is None:
            why = limit_full(shut.key, shut.in_use, shut.limit, shut.holders)
        elif shut is not None:
            why = f"the rate {shut.key} is used up"
        else:
            plain = Target(target.capability, target.agent)
            capable = len(self._takers(row.namespace, plain)) if target.match else 0
            why = nobody(target, self._takers(row.namespace, target), capable)
        return OnSession(row.session_id, cmd.QueueTimeout(row.task_id, why))


def _come_due(delayed: str) -> cmd.SessionCommand:
    """What waits for its time is a task, or a child session that is started anew."""
    return cmd.ChildDue(delayed) if delayed.startswith("ses_") else cmd.TaskDue(delayed)
