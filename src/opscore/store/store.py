"""What the engine asks of a store. SQLite answers in `sqlite.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from opscore.core.audit import AuditRecord, Ends
from opscore.core.types import Micros
from opscore.store.gate_rows import GateRows
from opscore.store.happened import Happened
from opscore.store.key_rows import StoredKey
from opscore.store.rows import (
    AgentRow,
    ApprovalRow,
    CallbackRow,
    Changes,
    LeaseRow,
    Locked,
    OutboxRow,
    ReadyRow,
    RequestName,
    RequestRow,
    ScheduleRow,
    SessionRow,
    StoredEvent,
    TaskPicture,
    TemplateRow,
    TimerRow,
    Wants,
)
from opscore.store.shared import Shared
from opscore.store.work_rows import UsageRow, WorkRow
from opscore.store.workload import Workload

Filters = Mapping[str, str | int | None]
"""Column conditions of a list; None means no condition. The store says which names it knows."""


@dataclass(frozen=True, slots=True)
class DueWork:
    """What time has brought: rows whose deadline is past, and when the next one will be."""

    leases: Sequence[LeaseRow]
    delayed: Sequence[tuple[str, str]]
    expired: Sequence[ReadyRow]
    timers: Sequence[TimerRow]
    sessions: Sequence[str]
    next_at: Micros | None


class Store(Protocol):
    """A journal with its queues. One `transact` at a time; reads run beside it."""

    url: str
    shared: Shared | None
    """The line of servers, where several may write to the store; None: this process owns it."""

    async def open(self) -> None:
        """Open or create, migrate, and take sole ownership. Raises StoreRefused."""
        ...

    async def close(self) -> None:
        """Give everything back. Idempotent."""
        ...

    @property
    def audit_writer(self) -> str | None:
        """Whose chain the audit records of this process are in; None before the first."""
        ...

    def now(self) -> Micros:
        """The store's clock, by which all deadlines are judged."""
        ...

    async def transact(
        self,
        wants: Wants,
        after: Callable[[str], int | None],
        decide: Callable[[Locked], Changes],
    ) -> int:
        """Lock, let the caller decide, write and commit durably.

        `after` says of a session with which event the caller's memory of it ends (0: it has none);
        None: that is all there is, and nothing of it need be read.

        The next transaction may begin as soon as this one has decided; commits keep their order,
        and when one fails, those decided after it fail too.

        Returns the position of the first event written. If `decide` raises, nothing is written and the exception passes on. If the commit fails,
        nothing of it is visible.
        """
        ...

    async def journal(self, session_id: str, after: int, limit: int) -> list[StoredEvent]:
        """Events of one session with seq > `after`, in order."""
        ...

    async def agent_journal(self, agent_id: str, after: int, limit: int) -> list[StoredEvent]:
        """Events of one agent with seq > `after`, in order."""
        ...

    async def agent_owner(self, agent_id: str) -> str | None:
        """The namespace whose agent has, or had, this id; None: nobody's."""
        ...

    async def happened(self, namespace: str, after: int, until: int) -> list[Happened]:
        """Events of both journals with `after` < position <= `until`, in order."""
        ...

    async def last_position(self) -> int:
        """The position of the newest event."""
        ...

    async def session(self, session_id: str) -> SessionRow | None:
        """One header."""
        ...

    async def sessions(self, filters: Filters, before: str | None, limit: int) -> list[SessionRow]:
        """Headers, newest first.

        Filters: namespace, workflow, status, agent_id, label (`key=value`), since, until.
        """
        ...

    async def task(self, task_id: str) -> TaskPicture | None:
        """One task."""
        ...

    async def tasks(self, filters: Filters, before: str | None, limit: int) -> list[TaskPicture]:
        """Tasks, newest first.

        Filters: namespace, status, agent_id, capability, session_id, workflow, error_class, dead_in
        (a namespace: its dead letters).
        """
        ...

    async def task_events(self, session_id: str, task_id: str) -> list[StoredEvent]:
        """Events of a session's journal that name this task, in order."""
        ...

    async def recent_work(self, namespace: str, since: Micros, events: int) -> list[WorkRow]:
        """Of the newest so many events of the store: those of tasks since then, in order."""
        ...

    async def usage(self, namespace: str, since: Micros, after: int, until: int) -> list[UsageRow]:
        """Of events with `after` < position <= `until`: what attempts told they spent since then."""
        ...

    async def approvals(
        self, filters: Filters, before: str | None, limit: int
    ) -> list[ApprovalRow]:
        """Approvals, newest session first. Filters: namespace, status, session_id, approval_id."""
        ...

    async def schedules(self) -> list[ScheduleRow]:
        """Every schedule."""
        ...

    async def queues(self) -> dict[tuple[str, str], int]:
        """How many tasks may be claimed, by namespace and queue."""
        ...

    async def workload(self, namespace: str) -> Workload:
        """How much is open in a namespace."""
        ...

    async def ahead(self, row: ReadyRow) -> int:
        """How many tasks stand before this place in its queue; counted up to 100,000."""
        ...

    async def gates(self) -> GateRows:
        """All that limits are made of."""
        ...

    async def in_flight(self, agents: Collection[str]) -> list[LeaseRow]:
        """The attempts that these agents hold."""
        ...

    async def due(self, now: Micros, limit: int) -> DueWork:
        """Deadlines that have passed by `now`."""
        ...

    async def templates(self) -> list[TemplateRow]:
        """All template versions, oldest first."""
        ...

    async def agents(self) -> list[AgentRow]:
        """All registered agents."""
        ...

    async def keys(self) -> list[StoredKey]:
        """All API keys, oldest first."""
        ...

    async def audit(self, filters: Filters, before: int | None, limit: int) -> list[AuditRecord]:
        """Records of the audit, newest first; `before` is a position."""
        ...

    async def audit_ends(self) -> Ends:
        """The chains of the audit that no other vouches for, and how many records there are."""
        ...

    async def audit_hash(self, writer: str, seq: int) -> str | None:
        """The hash of one record of the audit, in hexadecimal; None when it is not there."""
        ...

    async def outbox(self) -> list[OutboxRow]:
        """What is still to be carried out."""
        ...

    async def callback(self, session_id: str) -> CallbackRow | None:
        """Whom to tell of a session's end."""
        ...

    async def pending_callbacks(self) -> list[CallbackRow]:
        """Callbacks that are neither delivered nor given up."""
        ...

    async def request(self, name: RequestName) -> RequestRow | None:
        """What is kept of a request with an `Idempotency-Key`."""
        ...

    async def renew_leases(self, now: Micros, lease: Micros, accepted: Micros) -> None:
        """On opening: every attempt in flight has a whole lease to give a sign of life.

        That is `lease`, or its own where that is longer. Of what an agent that we call
        has accepted, the long lease stays, up to `accepted` from now or its own deadline.
        """
        ...

    async def keep_secret(self, name: str, fresh: str) -> str:
        """The secret of that name; `fresh` becomes it when there is none yet."""
        ...

    async def counts(self) -> dict[str, int]:
        """Rows by table, and under `completed` the tasks that are."""
        ...
