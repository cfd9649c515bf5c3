"""Rows of limits: who waits for room, and how far rates are used up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from opscore.core.types import Micros

if TYPE_CHECKING:
    from opscore.store.rows import LeaseRow, ReadyRow


class GatedRow(NamedTuple):
    """A place in a queue of a task that must find room under limits first; `terms` as JSON."""

    namespace: str
    queue: str
    place: int
    task_id: str
    session_id: str
    expires_at: Micros | None
    terms: str


class AdmittedRow(NamedTuple):
    """A session that has found room under the limits of its template, and has not ended."""

    session_id: str
    namespace: str
    terms: str


class RateRow(NamedTuple):
    """How far a rate is used up: its theoretical arrival time; the bound was last seen so."""

    namespace: str
    key: str
    tat: Micros
    starts: int
    per: Micros


class GateRows(NamedTuple):
    """All that limits are made of: attempts in flight that have some, who waits, rates, sessions."""

    leases: list[LeaseRow]
    waiting: list[GatedRow]
    rates: list[RateRow]
    admitted: list[AdmittedRow]


@dataclass(slots=True)
class GateChanges:
    """What a commit changes of them. As in `Changes`, later changes of a row replace earlier ones."""

    gated: dict[str, GatedRow] = field(default_factory=dict[str, GatedRow])
    ungated: dict[str, ReadyRow] = field(default_factory=dict[str, "ReadyRow"])
    rates: dict[tuple[str, str], RateRow] = field(default_factory=dict[tuple[str, str], RateRow])
    rates_gone: dict[tuple[str, str], None] = field(default_factory=dict[tuple[str, str], None])
    admitted: dict[str, AdmittedRow] = field(default_factory=dict[str, AdmittedRow])
    left: set[str] = field(default_factory=set[str])

    def __bool__(self) -> bool:
        """Whether there is anything to commit."""
        rates = self.rates or self.rates_gone
        return bool(self.gated or self.ungated or rates or self.admitted or self.left)

    def gate(self, row: GatedRow) -> None:
        """Let a task wait for room under its limits."""
        self.gated[row.task_id] = row

    def admit(self, row: AdmittedRow) -> None:
        """A session was let in."""
        self.left.discard(row.session_id)
        self.admitted[row.session_id] = row

    def leave(self, session_id: str) -> None:
        """It has ended."""
        if self.admitted.pop(session_id, None) is None:
            self.left.add(session_id)

    def ungate(self, row: ReadyRow) -> None:
        """End that; as for `dequeue`, `row` names the place that the store has."""
        if self.gated.pop(row.task_id, None) is None:
            self.ungated.setdefault(row.task_id, row)
