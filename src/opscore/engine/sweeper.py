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
from opscore.engine.news import News, soonest_of
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
        leads: Callable[[], bool],
    ) -> None:
        self._leads = leads
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
        soonest = soonest_of(unit.changes)
        if self._schedules.waiting and self._schedules.ended(unit.ended()):
            soonest = 0
        self._be_up_at(soonest)

    def followed(self, news: News) -> None:
        """The same, of another server's commit."""
        soonest = news.soonest
        for row in news.schedules:
            self._schedules.put(row)
        for key in news.schedules_gone:
            self._schedules.remove(key)
        if self._schedules.ended(news.ended):
            soonest = 0
        self._be_up_at(soonest)

    def _be_up_at(self, soonest: Micros | None) -> None:
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
        """Carry out what is due now; answers with what was found.

        None: after a failure, or while another server does it; then it looks again in a while.
        """
        if not self._leads():
            return None
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
