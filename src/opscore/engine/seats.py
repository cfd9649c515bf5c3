"""The seats of connected instances: who is free, and for which queues.

A slot is taken when a batch decides on a claim and given back when one decides on an attempt's
end, not when the commit is done: what the next batch decides must count it. A commit that fails
takes both back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from opscore.core.agent import Agent, Availability
from opscore.core.expressions import Expressions
from opscore.core.matching import Slots
from opscore.core.types import Micros
from opscore.engine.choosers import Choosers, Queue, Ranks
from opscore.engine.projection import MATCHED, queue_name
from opscore.engine.records import ClaimedAttempt

QUEUES_KNOWN = 1_000
"""Queues of tasks that choose; a label that is computed may make a great many of them."""


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
    """One connected instance. `holding`: attempts it was given that are not over.

    `agent` is whose it is, as last heard of: what tasks may ask of their agents.
    `why`: what keeps an agent that we call from taking more. `once`: it takes the attempts of one claim, and no more after that.
    """

    namespace: str
    agent_id: str
    instance_id: str
    queues: frozenset[Queue]
    max_in_flight: int
    receiver: Receiver
    idle_since: Micros
    holding: dict[str, int] = field(default_factory=dict[str, int])
    draining: bool = False
    agent: Agent | None = None
    why: Availability | None = None
    once: bool = False
    served: bool = False
    emptied: asyncio.Event | None = None

    @property
    def free(self) -> int:
        """How many more attempts it takes now."""
        if self.draining or (self.once and self.served):
            return 0
        return self.max_in_flight - len(self.holding)

    def slots(self) -> Slots:
        """Its free slots, as `core.matching` counts them."""
        return Slots(self.instance_id, self.queues, self.free, self.max_in_flight, self.idle_since)


def queues_of(namespace: str, agent_name: str, capabilities: Iterable[str]) -> frozenset[Queue]:
    """The queues that an agent serves: its own, and those of its capabilities."""
    names = [queue_name(None, agent_name), *(queue_name(c, None) for c in capabilities)]
    return frozenset((namespace, name) for name in names)


class Seats:
    """All seats by instance, and those with a free slot by queue.

    The queues of tasks that choose among agents are not known to seats when they are taken. Such a
    queue is listed with the seats that fit when somebody first asks for it.
    """

    def __init__(self, expressions: Expressions) -> None:
        self._choosers = Choosers(expressions)
        self._seats: dict[str, Seat] = {}
        self._free: dict[Queue, dict[str, Seat]] = {}
        self._serving = Counter[Queue]()

    def add(self, seat: Seat) -> Seat | None:
        """Seat an instance; the seat that it had before is returned."""
        old = self._seats.get(seat.instance_id)
        if old is not None:
            self.remove(old)
        self._seats[seat.instance_id] = seat
        seat.queues |= self._choosers.of(seat)
        self._serving.update(seat.queues)
        self.list(seat)
        return old

    def remove(self, seat: Seat) -> None:
        """The seat is given up, if it still is its instance's."""
        if self.has(seat):
            del self._seats[seat.instance_id]
            self._no_more(seat)
        self.unlist(seat)

    def serve(self, seat: Seat, queues: frozenset[Queue], *, draining: bool) -> None:
        """What the seat takes from now on."""
        self.unlist(seat)
        seated = self.has(seat)
        if seated:
            self._no_more(seat)
        seat.queues, seat.draining = queues, draining
        seat.queues |= self._choosers.of(seat)
        if seated:
            self._serving.update(seat.queues)
        self.list(seat)

    def _no_more(self, seat: Seat) -> None:
        self._serving.subtract(seat.queues)
        for queue in seat.queues:
            if not self._serving[queue]:
                del self._serving[queue]

    def has(self, seat: Seat) -> bool:
        """Whether this is its instance's seat now."""
        return self._seats.get(seat.instance_id) is seat

    def get(self, instance_id: str) -> Seat | None:
        """The seat of an instance."""
        return self._seats.get(instance_id)

    def of(self, agent_id: str | None) -> list[Seat]:
        """All seats, or those of one agent."""
        return [s for s in self._seats.values() if agent_id in (None, s.agent_id)]

    def list(self, seat: Seat) -> None:
        """Show the seat where it has free slots, and nowhere when it has none."""
        if seat.free > 0 and self.has(seat):
            for queue in seat.queues:
                self._free.setdefault(queue, {})[seat.instance_id] = seat
        else:
            self.unlist(seat)

    def unlist(self, seat: Seat) -> None:
        """Show it nowhere."""
        for queue in seat.queues:
            seats = self._free.get(queue)
            if seats is not None and seats.get(seat.instance_id) is seat:
                del seats[seat.instance_id]
                if not seats:
                    del self._free[queue]

    def served(self, queue: Queue) -> bool:
        """Whether somebody takes tasks of this queue, be it that all are busy now."""
        return queue in self._serving or (self._learn(queue) and queue in self._serving)

    def any_free(self, queue: Queue) -> bool:
        """Whether somebody would take a task of this queue now."""
        return queue in self._free or (self._learn(queue) and queue in self._free)

    def free(self, queue: Queue, most: int) -> list[Seat]:
        """Seats with a free slot for this queue, `most` of them; who is preferred comes first."""
        if queue[1].startswith(MATCHED):
            self._learn(queue)
            return self._choosers.sorted(queue, self._free.get(queue, {}).values())[:most]
        return [*islice(self._free.get(queue, {}).values(), most)]

    def ranks(self, queues: Iterable[Queue]) -> Ranks:
        """Which instances come first, for those queues whose tasks prefer some."""
        return self._choosers.ranks(queues, self._free) if self._choosers else {}

    def fitting(self, seat: Seat, queues: Iterable[Queue]) -> frozenset[Queue]:
        """Which of those queues a seat serves whose tasks choose; it needs no place here."""
        choosing = {queue for queue in queues if queue[1].startswith(MATCHED)}
        for queue in choosing:
            self._learn(queue)
        return self._choosers.of(seat) & choosing if choosing else frozenset()

    def _learn(self, queue: Queue) -> bool:
        """List a queue whose tasks choose, if it is new, with the seats that they may choose."""
        if not queue[1].startswith(MATCHED) or queue in self._choosers:
            return False
        if len(self._choosers) >= QUEUES_KNOWN:
            self._unlearn()
        chooser = self._choosers.add(queue)
        for seat in self._seats.values():
            if chooser.may_take(seat):
                seat.queues |= {queue}
                self._serving[queue] += 1
                self.list(seat)
        return True

    def _unlearn(self) -> None:
        """Too many are known: each is learned again when somebody asks for it."""
        known = frozenset(self._choosers)
        self._choosers.clear()
        for seat in list(self._seats.values()):
            self.serve(seat, seat.queues - known, draining=seat.draining)
