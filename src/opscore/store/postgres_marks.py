"""Where queues begin, so that no claim walks over places that were left long ago.

PostgreSQL keeps the index entries of deleted rows for as long as any snapshot might need them: a
backup, a dashboard. Scans that start at the first place a queue can still have pass over none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opscore.store.rows import ReadyRow

Queue = tuple[str, str]
LOWEST = -(1 << 62)
HIGHEST = 1 << 62


class Marks:
    """The lowest place that each queue can have, as far as this server knows.

    A scan finds what is committed. What is decided but not committed while it runs may be lower
    than all it finds, so it is kept beside.
    """

    def __init__(self) -> None:
        self._marks: dict[Queue, int] = {}
        self._pending: list[dict[Queue, int]] = []
        self._scans: list[dict[Queue, int]] = []
        self._age = 0

    def of(self, queue: Queue) -> int:
        """From which place on the queue must be read."""
        return self._marks.get(queue, LOWEST)

    def decided(self, rows: Iterable[ReadyRow]) -> dict[Queue, int]:
        """These places will be given; `settled` must follow."""
        lows: dict[Queue, int] = {}
        for row in rows:
            queue = row[:2]
            lows[queue] = min(row.place, lows.get(queue, HIGHEST))
        if lows:
            for queue, low in lows.items():
                if queue in self._marks:
                    self._marks[queue] = min(self._marks[queue], low)
            for scan in self._scans:
                _lower(scan, lows)
            self._pending.append(lows)
        return lows

    def settled(self, lows: dict[Queue, int]) -> None:
        """They are committed, or never will be."""
        if lows:
            self._pending = [one for one in self._pending if one is not lows]

    def scan(self) -> tuple[int, dict[Queue, int]]:
        """A scan begins."""
        lows: dict[Queue, int] = {}
        for pending in self._pending:
            _lower(lows, pending)
        self._scans.append(lows)
        return self._age, lows

    def scanned(
        self, begun: tuple[int, dict[Queue, int]], found: Mapping[Queue, int | None]
    ) -> None:
        """It is over: the lowest place of each queue that it read from its mark on."""
        age, lows = begun
        self._scans = [one for one in self._scans if one is not lows]
        if age == self._age:
            for queue, place in found.items():
                low = HIGHEST if place is None else place
                self._marks[queue] = min(low, lows.get(queue, HIGHEST))

    def gave_up(self, begun: tuple[int, dict[Queue, int]]) -> None:
        """It failed."""
        self._scans = [one for one in self._scans if one is not begun[1]]

    def forget(self) -> None:
        """Others have committed: any queue may begin anywhere."""
        self._marks.clear()
        self._age += 1


def _lower(lows: dict[Queue, int], others: Mapping[Queue, int]) -> None:
    for queue, low in others.items():
        lows[queue] = min(low, lows.get(queue, HIGHEST))
