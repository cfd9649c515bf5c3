"""Available tasks meet waiting instances.

An instance has a seat here while it is connected (or polls). Commits wake the queues they put
tasks into; the dispatcher claims for free seats in batches, and hands out what was claimed only
after the claim's commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from opscore.core.errors import OpsCoreError
from opscore.core.types import SECOND, Micros
from opscore.engine.claims import ClaimRequest, Claims, ClaimTasks, Queue, Taking
from opscore.engine.clock import Clock
from opscore.engine.projection import queue_name
from opscore.engine.records import ClaimedAttempt, SettlementReport
from opscore.engine.requests import SettleAttempts
from opscore.engine.unit import CancelNotice, Unit
from opscore.engine.writer import Writer

SEATS_PER_CLAIM = 128
TASKS_PER_CLAIM = 400

log = structlog.get_logger("opscore.dispatcher")


class Receiver(Protocol):
    """How an instance hears of things. Called on the loop; must not block or raise.

    `local`: it runs in this process, and ends with it.
    """

    local: bool

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """New attempts, already committed."""
        ...

    def cancel(
        self, attempts: Sequence[tuple[str, int]], reason: str, grace_seconds: float
    ) -> None:
        """Stop working on these."""
        ...

    def drain(self, reason: str) -> None:
        """Take no more work."""
        ...

    def close(self, reason: str) -> None:
        """This seat was given to a newer connection, or the server stops."""
        ...


@dataclass(slots=True, eq=False)
class Seat:
    """One connected instance. `holding`: attempts handed out and not yet over."""

    namespace: str
    agent_id: str
    instance_id: str
    queues: frozenset[Queue]
    max_in_flight: int
    receiver: Receiver
    idle_since: Micros
    holding: dict[str, int] = field(default_factory=dict[str, int])
    draining: bool = False
    emptied: asyncio.Event | None = None

    @property
    def free(self) -> int:
        """How many more attempts it takes now."""
        return 0 if self.draining else self.max_in_flight - len(self.holding)

    def request(self) -> ClaimRequest:
        """Its free slots, as a claim names them."""
        return ClaimRequest(
            self.namespace,
            self.agent_id,
            self.instance_id,
            self.queues,
            self.free,
            self.max_in_flight,
            self.idle_since,
        )


def queues_of(namespace: str, agent_name: str, capabilities: Iterable[str]) -> frozenset[Queue]:
    """The queues that an agent serves: its own, and those of its capabilities."""
    names = [queue_name(None, agent_name), *(queue_name(c, None) for c in capabilities)]
    return frozenset((namespace, name) for name in names)


class Dispatcher:
    """Seats, woken queues, and the loop that brings them together."""

    def __init__(
        self,
        writer: Writer,
        now: Callable[[], Micros],
        span_id: Callable[[], str],
        chance: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._now = now
        self._span_id = span_id
        self._chance = chance
        self._seats: dict[str, Seat] = {}
        self._free: dict[Queue, dict[str, Seat]] = {}
        self._taking = Taking()
        self._woken: set[Queue] = set()
        self._something = asyncio.Event()

    # -- seats ------------------------------------------------------------------------------

    def sit(self, seat: Seat) -> None:
        """Give an instance a seat; one that it already had is closed."""
        old = self._seats.get(seat.instance_id)
        if old is not None:
            self.leave(old)
            old.receiver.close("replaced by a newer connection of the same instance")
        self._seats[seat.instance_id] = seat
        self.refresh(seat)

    def leave(self, seat: Seat) -> None:
        """The connection is gone; its leases stay until they expire or the next hello."""
        if self._seats.get(seat.instance_id) is seat:
            del self._seats[seat.instance_id]
        self._unlist(seat)

    def refresh(self, seat: Seat) -> None:
        """List the seat where it has free slots, after anything about it changed."""
        self._unlist(seat)
        if seat.free > 0 and self._seats.get(seat.instance_id) is seat:
            for queue in seat.queues:
                self._free.setdefault(queue, {})[seat.instance_id] = seat
            if not self._woken.isdisjoint(seat.queues):
                self._something.set()

    def serve(self, seat: Seat, queues: frozenset[Queue], *, draining: bool) -> None:
        """What the seat takes from now on."""
        self._unlist(seat)
        seat.queues, seat.draining = queues, draining
        self.refresh(seat)

    def _unlist(self, seat: Seat) -> None:
        for queue in seat.queues:
            seats = self._free.get(queue)
            if seats is not None and seats.get(seat.instance_id) is seat:
                del seats[seat.instance_id]
                if not seats:
                    del self._free[queue]

    def seats(self, agent_id: str | None = None) -> list[Seat]:
        """All seats, or those of one agent."""
        return [s for s in self._seats.values() if agent_id in (None, s.agent_id)]

    def seat(self, instance_id: str) -> Seat | None:
        """The seat of an instance."""
        return self._seats.get(instance_id)

    # -- what commits bring -----------------------------------------------------------------

    def wake(self, queues: Iterable[Queue]) -> None:
        """Tasks may wait in these queues."""
        self._woken.update(queues)
        if any(queue in self._free for queue in self._woken):
            self._something.set()

    def nudge(self) -> None:
        """Look again, from time to time, whether a woken queue meets a free seat."""
        self.wake(())

    def committed(self, unit: Unit) -> None:
        """Free slots, pass on cancellations, wake queues."""
        freed: dict[str, Seat] = {}
        for task_id, instance_id in unit.freed.items():
            seat = self._seats.get(instance_id)
            if seat is not None and seat.holding.pop(task_id, None) is not None:
                freed[instance_id] = seat
        for seat in freed.values():
            if not seat.holding:
                seat.idle_since = unit.now
                if seat.emptied is not None:
                    seat.emptied.set()
            self.refresh(seat)
        for notice in unit.cancels:
            self._cancel(notice)
        if unit.changes.ready:
            self.wake({(r.namespace, r.queue) for r in unit.changes.ready.values()})

    def _cancel(self, notice: CancelNotice) -> None:
        seat = self._seats.get(notice.instance_id)
        if seat is not None:
            pair = (notice.task_id, notice.attempt)
            seat.receiver.cancel([pair], notice.reason, notice.grace / SECOND)

    # -- the loop ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Claim for free seats whenever a queue they serve was woken."""
        while True:
            await self._something.wait()
            self._something.clear()
            while (command := self._next_claim()) is not None:
                try:
                    await self._claim(command)
                except OpsCoreError as error:
                    # The queues stay woken; the next commit or `nudge` tries again.
                    log.error("claim_failed", error=str(error))
                    self._woken.update(command.limits)
                    break

    def _next_claim(self) -> ClaimTasks | None:
        chosen: dict[str, Seat] = {}
        limits: dict[Queue, int] = {}
        for queue in self._woken:
            room = 0
            for seat in self._free.get(queue, {}).values():
                if len(chosen) >= SEATS_PER_CLAIM and seat.instance_id not in chosen:
                    break
                chosen[seat.instance_id] = seat
                room += seat.free
            if room:
                limits[queue] = min(room, TASKS_PER_CLAIM)
        if not limits:
            return None
        self._woken.difference_update(limits)
        return self._claim_for(chosen.values(), limits)

    def _claim_for(self, seats: Iterable[Seat], limits: Mapping[Queue, int]) -> ClaimTasks:
        requests = [seat.request() for seat in seats]
        return ClaimTasks(requests, limits, self._span_id, self._taking)

    async def claim_now(self, seat: Seat) -> list[ClaimedAttempt]:
        """What its queues hold for an instance at this moment; it needs no place among the seats.

        Other claims may share the commit.
        """
        if seat.free <= 0:
            return []
        command = self._claim_for([seat], dict.fromkeys(seat.queues, seat.free))
        claims = await self._writer.submit(command)
        return claims.attempts.get(seat.instance_id, [])

    async def _claim(self, command: ClaimTasks) -> None:
        claims = await self._writer.submit(command)
        self._woken.update(q for q in command.limits if q not in claims.drained)
        self._hand_out(claims)

    def _hand_out(self, claims: Claims) -> None:
        for instance_id, attempts in claims.attempts.items():
            seat = self._seats.get(instance_id)
            if seat is None:
                self._return(attempts)
                continue
            seat.holding.update((a.task_id, a.attempt) for a in attempts)
            self.refresh(seat)
            seat.receiver.tasks(attempts)

    def _return(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """The instance left before it was told: nobody has begun these."""
        reports = [SettlementReport(a.task_id, a.attempt, "released") for a in attempts]
        answer = self._writer.submit(SettleAttempts(reports, self._chance))
        # When this cannot be recorded, the leases run out.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())

    # -- stopping ---------------------------------------------------------------------------

    async def stop(self, clock: Clock, seconds: float) -> None:
        """Hand out nothing more, give local functions time to end, then close every seat."""
        for seat in self._seats.values():
            seat.draining = True
            self._unlist(seat)
        local = [s for s in self._seats.values() if s.receiver.local]
        await asyncio.gather(*(self._emptied(seat, clock, seconds) for seat in local))
        for seat in list(self._seats.values()):
            self.leave(seat)
            seat.receiver.close("the server is stopping")

    async def _emptied(self, seat: Seat, clock: Clock, seconds: float) -> None:
        seat.emptied = asyncio.Event()
        if seat.holding:
            await clock.wait(seat.emptied, seconds)
