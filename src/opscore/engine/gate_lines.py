"""Those who wait for the same limits, in their order."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from opscore.store.rows import ReadyRow


@dataclass(slots=True)
class Line:
    """Tasks that wait for the same: in order, those that have left skipped on the way."""

    rows: dict[str, ReadyRow] = field(default_factory=dict[str, ReadyRow])
    places: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    start: int = 0

    def add(self, row: ReadyRow) -> None:
        """Take a place."""
        self.rows[row.task_id] = row
        insort(self.places, (row.place, row.task_id), lo=self.start)

    def waiting(self) -> Iterator[ReadyRow]:
        """Those that wait, first come first."""
        self._forget_the_gone()
        for place, task_id in self.places[self.start :] if self.start else self.places:
            row = self.rows.get(task_id)
            if row is not None and row.place == place:
                yield row

    def _forget_the_gone(self) -> None:
        while self.start < len(self.places):
            place, task_id = self.places[self.start]
            row = self.rows.get(task_id)
            if row is not None and row.place == place:
                break
            self.start += 1
        if self.start * 2 > len(self.places):
            del self.places[: self.start]
            self.start = 0
