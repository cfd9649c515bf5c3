"""Claims: tasks of queues for the free slots of instances, decided within a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

import structlog

from opscore.core import commands as cmd
from opscore.core.errors import Corrupted
from opscore.core.matching import Ranks, assign
from opscore.core.types import TaskStatus
from opscore.engine.gating import let_through, want_gated
from opscore.engine.records import ClaimedAttempt
from opscore.engine.seats import Queue, Seat
from opscore.engine.unit import Means, Unit
from opscore.store.rows import ReadyRow, Wants

log = structlog.get_logger("opscore.claims")

Candidate = tuple[Queue, ReadyRow]


@dataclass(slots=True)
class Uncommitted:
    """What batches that are decided, but not committed yet, change in the queues.

    Whoever reads beside such a commit still sees what it takes and must read so many more, and
    does not see what it leaves.
    """

    taking: Counter[Queue] = field(default_factory=Counter[Queue])
    leaving: dict[Queue, dict[str, ReadyRow]] = field(
        default_factory=dict[Queue, dict[str, ReadyRow]]
    )

    def leave(self, unit: Unit) -> None:
        """Note the queue rows that a batch, all of which is decided, adds."""
        for row in unit.changes.ready.values():
            self.leaving.setdefault((row.namespace, row.queue), {})[row.task_id] = row
        if unit.changes.ready:
            unit.undone.append(lambda: self.left(unit))

    def left(self, unit: Unit) -> set[Queue]:
        """The batch is committed, or failed: the queues in which nobody took its rows meanwhile."""
        queues: set[Queue] = set()
        for row in unit.changes.ready.values():
            queue = (row.namespace, row.queue)
            of_queue = self.leaving.get(queue)
            if of_queue is not None and of_queue.pop(row.task_id, None) is not None:
                queues.add(queue)
                if not of_queue:
                    del self.leaving[queue]
        return queues

    def take(self, row: ReadyRow) -> None:
        """Somebody took this row; it is still there for whoever reads the store."""
        queue = (row.namespace, row.queue)
        self.taking[queue] += 1
        of_queue = self.leaving.get(queue)
        if of_queue is not None:
            of_queue.pop(row.task_id, None)


class Pool:
    """The tasks that one batch may claim: each is offered until it is taken."""

    def __init__(self, unit: Unit, uncommitted: Uncommitted) -> None:
        self._unit = unit
        self._uncommitted = uncommitted
        self._taken: list[Queue] = []
        self._rows: dict[Queue, dict[str, ReadyRow]] = {}

    @classmethod
    def of(cls, unit: Unit, uncommitted: Uncommitted) -> Pool:
        """The one pool of a batch."""
        pool: Pool | None = unit.kept.get(cls)
        if pool is None:
            pool = unit.kept[cls] = cls(unit, uncommitted)
            unit.after.append(pool.over)
            unit.undone.append(pool.over)
        return pool

    def first(self, queue: Queue, limit: int) -> list[ReadyRow]:
        """The first of a queue, of those that stand there without this batch."""
        rows = self._rows.get(queue)
        if rows is None:
            rows = self._rows[queue] = self._standing(queue)
        gone = self._unit.changes.unready
        waiting = (row for row in rows.values() if row.task_id not in gone)
        return [*islice(waiting, limit)]

    def _standing(self, queue: Queue) -> dict[str, ReadyRow]:
        found = {row.task_id: row for row in self._unit.locked.candidates.get(queue, ())}
        leaving = self._uncommitted.leaving.get(queue)
        if leaving:
            found.update(leaving)
            found = {row.task_id: row for row in sorted(found.values(), key=_by_place)}
        return {task_id: row for task_id, row in found.items() if self._waits(row)}

    def _waits(self, row: ReadyRow) -> bool:
        """Not so when a batch that is being committed has claimed it; then memory knows."""
        state = self._unit.means.sessions.get(row.session_id)
        return state is None or state.tasks[row.task_id].status is TaskStatus.AVAILABLE

    def take(self, row: ReadyRow) -> None:
        """Offer it no more."""
        queue = (row.namespace, row.queue)
        standing = self._rows.get(queue)
        if standing is not None and standing.pop(row.task_id, None) is not None:
            self._taken.append(queue)
            self._uncommitted.take(row)

    def over(self) -> None:
        """The batch was committed, or failed."""
        self._uncommitted.taking.subtract(self._taken)


def _by_place(row: ReadyRow) -> tuple[int, str]:
    return row.place, row.task_id


@dataclass(slots=True)
class Claimed:
    """Attempts by instance; `given`: tasks that were, or turned out not to be there any more."""

    attempts: dict[str, list[ClaimedAttempt]] = field(
        default_factory=dict[str, list[ClaimedAttempt]]
    )
    given: set[str] = field(default_factory=set[str])


def claim_for(
    unit: Unit,
    pool: Pool,
    candidates: list[Candidate],
    seats: Mapping[str, Seat],
    ranks: Ranks[Queue] | None = None,
) -> Claimed:
    """Candidates for the free slots of seats (by instance), in the order of their places."""
    claimed = Claimed()
    candidates.sort(key=lambda pair: _by_place(pair[1]))
    for row, instance_id in assign(candidates, [seat.slots() for seat in seats.values()], ranks):
        pool.take(row)
        claimed.given.add(row.task_id)
        attempt = _claim(unit, row, seats[instance_id])
        if attempt is not None:
            claimed.attempts.setdefault(instance_id, []).append(attempt)
    return claimed


def pass_over(unit: Unit, offered: Iterable[Candidate], claimed: Claimed) -> None:
    """Offer no more who was let through and could not be claimed."""
    for _, row in offered:
        if row.task_id in claimed.given:
            unit.means.gates.leave(row.task_id)


def want_candidates(wants: Wants, limits: Mapping[Queue, int], uncommitted: Uncommitted) -> None:
    """Read the first of each queue, and as many more as batches before this one are taking."""
    for queue, limit in limits.items():
        wants.claims[queue] = limit + wants.claims.get(queue, uncommitted.taking[queue])


@dataclass(slots=True)
class ClaimTasks:
    """What the queues of one instance hold at this moment for its free slots."""

    seat: Seat
    uncommitted: Uncommitted
    weight: int = 1

    def __post_init__(self) -> None:
        self.weight = max(1, self.seat.free)

    def want(self, wants: Wants, means: Means) -> None:
        """Candidates of each queue."""
        want_candidates(wants, dict.fromkeys(self.seat.queues, self.seat.free), self.uncommitted)
        want_gated(wants, means, self._free)

    def apply(self, unit: Unit) -> list[ClaimedAttempt]:
        """Cannot be refused."""
        pool = Pool.of(unit, self.uncommitted)
        candidates: list[Candidate] = []
        for queue in self.seat.queues:
            candidates += [(queue, row) for row in pool.first(queue, self.seat.free)]
        offered = let_through(unit, self._free)
        candidates += offered
        instance_id = self.seat.instance_id
        claimed = claim_for(unit, pool, candidates, {instance_id: self.seat})
        pass_over(unit, offered, claimed)
        return claimed.attempts.get(instance_id, [])

    def _free(self, queue: Queue) -> int:
        return self.seat.free if queue in self.seat.queues else 0


def _claim(unit: Unit, row: ReadyRow, seat: Seat) -> ClaimedAttempt | None:
    try:
        state = unit.session(row.session_id)
    except Corrupted as error:
        # One journal that cannot be read must not stop the others.
        log.error("claim_passed_over", task_id=row.task_id, error=str(error))
        return None
    if state is None:
        return None
    command = cmd.Claim(row.task_id, seat.agent_id, seat.instance_id)
    if unit.decide(state, command) is not None:
        return None
    task, lease = state.tasks[row.task_id], unit.changes.leases[row.task_id]
    assert task.input is not None
    return ClaimedAttempt(
        task_id=task.task_id,
        attempt=task.attempt,
        session_id=state.session_id,
        namespace=state.namespace,
        step=task.step,
        capability=task.capability,
        agent=task.agent,
        input=task.input,
        context=state.context,
        lease_until=lease.until,
        deadline=task.deadline,
        trace_id=state.trace_id,
        heartbeat=lease.heartbeat,
    )
