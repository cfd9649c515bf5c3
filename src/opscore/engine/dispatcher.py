"""Available tasks meet waiting instances.

An instance has a seat here while it is connected (or polls). Every batch of the write path ends
with a match: tasks that it makes available are claimed in the same commit when somebody is free,
and so is what waits in the queues for the slots that it frees. What was claimed is handed out only
after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from opscore.core.errors import Conflict, OpsCoreError
from opscore.core.types import SECOND, Micros
from opscore.engine.claims import ClaimTasks, Uncommitted
from opscore.engine.clock import Clock
from opscore.engine.match import Match, free_slots
from opscore.engine.news import News
from opscore.engine.records import ClaimedAttempt, SettlementReport
from opscore.engine.requests import SettleAttempts
from opscore.engine.seats import Queue, Seat, Seats
from opscore.engine.unit import CancelNotice, Unit
from opscore.engine.writer import Nothing, Writer

log = structlog.get_logger("opscore.dispatcher")


class Dispatcher:
    """Seats, woken queues, and the match that ends every batch.

    A queue is woken while the store may hold tasks of it. Where it is not, a batch may give its own
    new tasks away without looking, for nobody stands before them.
    """

    def __init__(self, writer: Writer, chance: Callable[[], float]) -> None:
        self._writer = writer
        self._chance = chance
        self._seats = Seats(writer.expressions)
        self._uncommitted = Uncommitted()
        self._woken: dict[Queue, int] = {}
        self._wakes = 0
        self._something = asyncio.Event()
        writer.end_batches_with(self._match)

    # -- seats ------------------------------------------------------------------------------

    def sit(self, seat: Seat) -> None:
        """Give an instance a seat; one that it already had is closed.

        What batches gave it on that one after the command for this one was decided is its own all the
        same, and takes slots here.
        """
        old = self._seats.add(seat)
        if old is not None:
            if not seat.once:
                seat.holding = {**old.holding, **seat.holding}
                self._seats.list(seat)
            old.receiver.close("replaced by a newer connection of the same instance")
        self.nudge()

    def leave(self, seat: Seat) -> None:
        """The connection is gone; its leases stay until they expire or the next hello."""
        self._seats.remove(seat)

    def refresh(self, seat: Seat) -> None:
        """Look where the seat has free slots, after its size changed."""
        self._seats.list(seat)
        self.nudge()

    def serve(self, seat: Seat, queues: frozenset[Queue], *, draining: bool) -> None:
        """What the seat takes from now on."""
        self._seats.serve(seat, queues, draining=draining)
        self.nudge()

    def seats(self, agent_id: str | None = None) -> list[Seat]:
        """All seats, or those of one agent."""
        return self._seats.of(agent_id)

    def seat(self, instance_id: str) -> Seat | None:
        """The seat of an instance."""
        return self._seats.get(instance_id)

    def check_instance(self, agent_id: str, instance_id: str) -> None:
        """Raises Conflict when another agent is connected under this instance id."""
        seat = self._seats.get(instance_id)
        if seat is not None and seat.agent_id != agent_id:
            raise Conflict(f"instance {instance_id} is connected as another agent")

    # -- what commits bring -----------------------------------------------------------------

    def wake(self, queues: Iterable[Queue]) -> None:
        """The store may hold tasks of these queues."""
        self._wakes += 1
        for queue in queues:
            self._woken[queue] = self._wakes
        self.nudge()

    def nudge(self) -> None:
        """Look whether a woken queue meets a free seat."""
        if self._may_match():
            self._something.set()

    def committed(self, unit: Unit) -> None:
        """Pass on cancellations, wake the queues of what nobody has claimed."""
        self._over(unit.freed, unit.now)
        for notice in unit.cancels:
            self._cancel(notice)
        queues = self._uncommitted.left(unit)
        if queues:
            self.wake(queues)
        else:
            self.nudge()

    def followed(self, news: News, now: Micros) -> None:
        """The same of another server's commit; and who sits there has left its seat here."""
        self._over(news.freed, now)
        for notice in news.cancels:
            self._cancel(notice)
        for _, instance_id in news.seated:
            seat = self._seats.get(instance_id)
            if seat is not None:
                self.leave(seat)
                seat.receiver.close("replaced by a connection of the same instance elsewhere")
        self.wake(news.queues)

    def _over(self, freed: Mapping[str, tuple[str, int]], now: Micros) -> None:
        free_slots(self._seats, freed, now)
        for seat in {self._seats.get(instance_id) for instance_id, _ in freed.values()}:
            if seat is not None and seat.emptied is not None and not seat.holding:
                seat.emptied.set()

    def _cancel(self, notice: CancelNotice) -> None:
        seat = self._seats.get(notice.instance_id)
        if seat is not None:
            pair = (notice.task_id, notice.attempt)
            seat.receiver.cancel([pair], notice.reason, notice.grace / SECOND)

    # -- claims -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask for a match whenever a woken queue meets a free seat."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._may_match():
                try:
                    await self._writer.submit(Nothing())
                except OpsCoreError as error:
                    # The queues stay woken; the next commit or `nudge` tries again.
                    log.error("claim_failed", error=str(error))
                    break

    def _may_match(self) -> bool:
        if any(self._seats.any_free(queue) for queue in self._woken):
            return True
        return self._writer.gates.may_offer(self._seats.any_free)

    async def claim_now(self, seat: Seat) -> list[ClaimedAttempt]:
        """What its queues hold for an instance at this moment; it needs no place among the seats.

        Other claims may share the commit.
        """
        if seat.free <= 0:
            return []
        standing = {*self._woken, *self._uncommitted.leaving, *self._writer.gates.queues}
        seat.queues |= self._seats.fitting(seat, standing)
        return await self._writer.submit(ClaimTasks(seat, self._uncommitted))

    def _match(self) -> Match:
        return Match(self._seats, self._woken, self._uncommitted, self.wake, self._hand_out)

    def _hand_out(self, seat: Seat, attempts: Sequence[ClaimedAttempt]) -> None:
        if self._seats.has(seat):
            seat.receiver.tasks(attempts)
        else:
            self._return(attempts)

    def _return(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """The instance left before it was told: nobody has begun these."""
        reports = [SettlementReport(a.task_id, a.attempt, "released") for a in attempts]
        answer = self._writer.submit(SettleAttempts(reports, self._chance))
        # When this cannot be recorded, the leases run out.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())

    # -- stopping ---------------------------------------------------------------------------

    async def stop(self, clock: Clock, seconds: float) -> None:
        """Hand out nothing more, give local functions time to end, then close every seat."""
        for seat in self._seats.of(None):
            seat.draining = True
            self._seats.unlist(seat)
        local = [s for s in self._seats.of(None) if s.receiver.local]
        await asyncio.gather(*(self._emptied(seat, clock, seconds) for seat in local))
        for seat in self._seats.of(None):
            self.leave(seat)
            seat.receiver.close("the server is stopping")

    async def _emptied(self, seat: Seat, clock: Clock, seconds: float) -> None:
        seat.emptied = asyncio.Event()
        if seat.holding:
            await clock.wait(seat.emptied, seconds)
