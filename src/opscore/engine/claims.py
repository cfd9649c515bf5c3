"""Claims: tasks of queues for the free slots of instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from opscore.core import commands as cmd
from opscore.core.matching import Slots, assign
from opscore.core.types import Micros, TaskStatus
from opscore.engine.records import ClaimedAttempt
from opscore.engine.unit import Means, Unit
from opscore.store.rows import ReadyRow, Wants

Queue = tuple[str, str]
"""(namespace, queue name)."""

Taking = Counter[Queue]
"""How many tasks of each queue are being claimed by batches that are not committed yet.

Whoever reads beside such a commit still sees them in their queues, and must read so many more.
"""


@dataclass(slots=True)
class ClaimRequest:
    """Free slots of one instance."""

    namespace: str
    agent_id: str
    instance_id: str
    queues: frozenset[Queue]
    free: int
    size: int
    idle_since: Micros


@dataclass(slots=True)
class Claims:
    """What a claim gave: attempts by instance, and the queues that held no more."""

    attempts: dict[str, list[ClaimedAttempt]] = field(
        default_factory=dict[str, list[ClaimedAttempt]]
    )
    drained: set[Queue] = field(default_factory=set[Queue])


class _Pool:
    """The candidates of one batch, each offered until it is taken."""

    def __init__(self, unit: Unit, taking: Taking) -> None:
        self._unit = unit
        self._taking = taking
        self._taken: list[Queue] = []
        self._rows: dict[Queue, dict[str, ReadyRow]] = {}
        unit.after.append(self._over)
        unit.undone.append(self._over)

    def of(self, queue: Queue, limit: int) -> list[tuple[Hashable, ReadyRow]]:
        """The first of a queue."""
        rows = self._rows.get(queue)
        if rows is None:
            found = self._unit.locked.candidates.get(queue, ())
            rows = self._rows[queue] = {r.task_id: r for r in found if self._waits(r)}
        gone = self._unit.changes.unready
        waiting = (row for row in rows.values() if row.task_id not in gone)
        return [(queue, row) for row in islice(waiting, limit)]

    def _waits(self, row: ReadyRow) -> bool:
        """Not so when a batch that is being committed has claimed it; then memory knows."""
        state = self._unit.means.sessions.get(row.session_id)
        return state is None or state.tasks[row.task_id].status is TaskStatus.AVAILABLE

    def take(self, row: ReadyRow) -> None:
        """Offer it no more."""
        queue = (row.namespace, row.queue)
        del self._rows[queue][row.task_id]
        self._taken.append(queue)
        self._taking[queue] += 1

    def _over(self) -> None:
        """The batch was committed, or failed."""
        for queue in self._taken:
            self._taking[queue] -= 1


@dataclass(slots=True)
class ClaimTasks:
    """Tasks for free slots. `span_id` makes the span ids of the attempts."""

    requests: Sequence[ClaimRequest]
    limits: Mapping[Queue, int]
    span_id: Callable[[], str]
    taking: Taking
    weight: int = 1

    def __post_init__(self) -> None:
        free = sum(request.free for request in self.requests)
        self.weight = max(1, min(500, free, sum(self.limits.values())))

    def want(self, wants: Wants, means: Means) -> None:
        """Candidates of each queue, and as many more as batches before this one are taking."""
        for queue, limit in self.limits.items():
            wants.claims[queue] = limit + wants.claims.get(queue, self.taking[queue])

    def apply(self, unit: Unit) -> Claims:
        """Cannot be refused; a candidate that cannot be claimed any more is passed over."""
        claims, pool = Claims(), self._pool(unit)
        candidates: list[tuple[Hashable, ReadyRow]] = []
        for queue, limit in self.limits.items():
            if len(unit.locked.candidates.get(queue, ())) < limit:
                claims.drained.add(queue)
            candidates += pool.of(queue, limit)
        candidates.sort(key=lambda pair: (pair[1].place, pair[1].task_id))
        by_id = {r.instance_id: r for r in self.requests}
        pairs = assign(candidates, [_slots(r) for r in self.requests])
        given = {row.task_id for row, _ in pairs}
        # Another queue's tasks may have used up the slots: then this one still holds work.
        claims.drained.difference_update(q for q, r in candidates if r.task_id not in given)
        for row, instance_id in pairs:
            pool.take(row)
            attempt = _claim(unit, row, by_id[instance_id], self.span_id)
            if attempt is not None:
                claims.attempts.setdefault(instance_id, []).append(attempt)
        return claims

    def _pool(self, unit: Unit) -> _Pool:
        found: _Pool | None = unit.kept.get(_Pool)
        if found is None:
            found = unit.kept[_Pool] = _Pool(unit, self.taking)
        return found


def _slots(request: ClaimRequest) -> Slots:
    queues = frozenset[Hashable](request.queues)
    return Slots(request.instance_id, queues, request.free, request.size, request.idle_since)


def _claim(
    unit: Unit, row: ReadyRow, request: ClaimRequest, span_id: Callable[[], str]
) -> ClaimedAttempt | None:
    state = unit.session(row.session_id)
    if state is None:
        return None
    command = cmd.Claim(row.task_id, request.agent_id, request.instance_id)
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
        span_id=span_id(),
        heartbeat=lease.heartbeat,
    )
