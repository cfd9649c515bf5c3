"""The match that ends every batch: tasks that may be claimed meet the slots that are free in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from opscore.core.types import Micros
from opscore.engine.admitting import let_in, places
from opscore.engine.claims import (
    Candidate,
    Pool,
    Uncommitted,
    claim_for,
    pass_over,
    want_candidates,
)
from opscore.engine.gating import let_through, make_room, want_gated
from opscore.engine.records import ClaimedAttempt
from opscore.engine.seats import Queue, Seat, Seats
from opscore.engine.unit import Means, Unit
from opscore.store.rows import ReadyRow, Wants

SEATS_PER_MATCH = 128
TASKS_PER_MATCH = 500


class Match:
    """Claims for the seats of this process, as the last command of a batch.

    `woken` has the queues of which the store may hold tasks, and when each was last woken; of any
    other queue the batch gives its own new tasks away without reading, for nobody stands before
    them. `hand_out` is called for each seat after the commit.
    """

    weight = 0

    def __init__(
        self,
        seats: Seats,
        woken: dict[Queue, int],
        uncommitted: Uncommitted,
        wake: Callable[[Iterable[Queue]], None],
        hand_out: Callable[[Seat, Sequence[ClaimedAttempt]], None],
    ) -> None:
        self._seats = seats
        self._woken = woken
        self._uncommitted = uncommitted
        self._wake = wake
        self._hand_out = hand_out
        self._stamps: dict[Queue, int] = {}
        self._asked: Mapping[Queue, int] = {}

    def want(self, wants: Wants, means: Means) -> None:
        """Of woken queues, as many tasks as there are slots, free or freed by this batch."""
        limits: dict[Queue, int] = {}
        for queue, stamp in self._woken.items():
            free = self._free(queue)
            if free or (wants.ending and self._seats.served(queue)):
                limits[queue] = min(free + wants.ending, TASKS_PER_MATCH)
                self._stamps[queue] = stamp
        want_candidates(wants, limits, self._uncommitted)
        self._asked = wants.claims
        want_gated(wants, means, lambda q: places(q) or self._free(q) + wants.ending)

    def apply(self, unit: Unit) -> None:
        """Cannot be refused."""
        if unit.means.gates.waits:
            let_in(unit)
        make_room(unit)
        freed = free_slots(self._seats, unit.freed, unit.now)
        if freed:
            unit.undone.append(lambda: self._hold_again(freed))
        standing = self._stamps or self._uncommitted.leaving or unit.means.gates.waits
        if standing or unit.changes.ready:
            self._match(unit)
        self._uncommitted.leave(unit)

    def _match(self, unit: Unit) -> None:
        pool = Pool.of(unit, self._uncommitted)
        standing = {
            queue: pool.first(queue, self._asked.get(queue, TASKS_PER_MATCH))
            for queue in (*self._stamps, *self._left_free())
        }
        candidates: list[Candidate] = [
            (queue, row) for queue, rows in standing.items() for row in rows
        ]
        candidates += self._new(unit)
        offered = let_through(unit, self._free) if unit.means.gates.waits else []
        candidates += offered
        if not candidates and not standing:
            return
        queues = {queue for queue, _ in candidates}
        seats = self._takers(unit, queues)
        ranks = self._seats.ranks(queues)
        claimed = claim_for(unit, pool, candidates, seats, ranks)
        pass_over(unit, offered, claimed)
        unit.undone.append(lambda: self._wake(queues))
        self._settle_woken(unit, standing, claimed.given)
        for instance_id, attempts in claimed.attempts.items():
            self._take(unit, seats[instance_id], attempts)

    def _free(self, queue: Queue) -> int:
        return sum(seat.free for seat in self._seats.free(queue, SEATS_PER_MATCH))

    def _takers(self, unit: Unit, queues: Iterable[Queue]) -> dict[str, Seat]:
        """Seats with free slots. What becomes of an agent that this batch changes, it will see."""
        changed = unit.changes.agents.keys() | unit.changes.agents_gone
        return {
            seat.instance_id: seat
            for queue in queues
            for seat in self._seats.free(queue, SEATS_PER_MATCH)
            if seat.agent_id not in changed
        }

    def _left_free(self) -> list[Queue]:
        """Queues in which all that stands is what commits under way leave."""
        return [q for q in self._uncommitted.leaving if q not in self._woken]

    def _new(self, unit: Unit) -> list[Candidate]:
        """What this batch adds to queues in which nobody unseen can stand before it."""
        fit: dict[Queue, bool] = {}
        new: list[Candidate] = []
        for row in unit.changes.ready.values():
            queue = (row.namespace, row.queue)
            if queue not in fit:
                fit[queue] = self._seats.any_free(queue) and self._seen_whole(unit, queue)
            if fit[queue]:
                new.append((queue, row))
        return new

    def _seen_whole(self, unit: Unit, queue: Queue) -> bool:
        """Whether the store has no task of this queue but those that were read for this batch."""
        if self._woken.get(queue) != self._stamps.get(queue):
            return False
        found = unit.locked.candidates.get(queue, ())
        return queue not in self._stamps or len(found) < self._asked[queue]

    def _settle_woken(
        self, unit: Unit, standing: Mapping[Queue, Sequence[ReadyRow]], given: Collection[str]
    ) -> None:
        """Queues that hold nothing any more need not be looked at until they are woken again."""
        over = [
            queue
            for queue, rows in standing.items()
            if queue in self._stamps
            and self._seen_whole(unit, queue)
            and all(row.task_id in given for row in rows)
        ]
        for queue in over:
            del self._woken[queue]

    def _take(self, unit: Unit, seat: Seat, attempts: Sequence[ClaimedAttempt]) -> None:
        """The slots are taken from now on; the instance hears of it after the commit."""
        seat.holding.update((a.task_id, a.attempt) for a in attempts)
        seat.served = True
        self._seats.list(seat)

        def undo() -> None:
            # The instance may have a newer seat by now, which took over what this one held.
            seat.served = False
            for each in (seat, self._seats.get(seat.instance_id) or seat):
                for attempt in attempts:
                    if each.holding.get(attempt.task_id) == attempt.attempt:
                        del each.holding[attempt.task_id]
                self._seats.list(each)

        unit.undone.append(undo)
        unit.after.append(lambda: self._hand_out(seat, attempts))

    def _hold_again(self, freed: Sequence[tuple[Seat, str, int]]) -> None:
        for seat, task_id, attempt in freed:
            seat.holding[task_id] = attempt
            self._seats.list(seat)


def free_slots(
    seats: Seats, over: Mapping[str, tuple[str, int]], now: Micros
) -> list[tuple[Seat, str, int]]:
    """Give back the slots of attempts that are over; those that were still taken."""
    freed: list[tuple[Seat, str, int]] = []
    for task_id, (instance_id, attempt) in over.items():
        seat = seats.get(instance_id)
        if seat is not None and seat.holding.get(task_id) == attempt:
            del seat.holding[task_id]
            freed.append((seat, task_id, attempt))
    for seat in {seat for seat, _, _ in freed}:
        if not seat.holding:
            seat.idle_since = now
        seats.list(seat)
    return freed
