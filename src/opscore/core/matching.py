"""Which instance takes which task.

Tasks go in the order of their places; each to the capable instance with the largest free share of
its slots, and among equals to the one that has been idle longest.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf
from typing import TypeVar

from opscore.core.types import Micros

T = TypeVar("T")
Q = TypeVar("Q", bound=Hashable)


Ranks = Mapping[Q, Mapping[str, tuple[float, ...]]]
"""By queue and instance: the lowest comes first."""


@dataclass(slots=True)
class Slots:
    """An instance's free slots: `free` of `size`; `idle_since` breaks ties; `queues` it serves."""

    instance_id: str
    queues: frozenset[Hashable]
    free: int
    size: int
    idle_since: Micros


def assign(
    tasks: Sequence[tuple[Q, T]], instances: Iterable[Slots], ranks: Ranks[Q] | None = None
) -> list[tuple[T, str]]:
    """Pair tasks, given in order with their queue, with instance ids. Uses up `Slots.free`.

    A task that no instance with a free slot serves is left out. Where a queue has `ranks` of
    instances, one with a lower rank comes before all others.
    """
    by_id = {slots.instance_id: slots for slots in instances if slots.free > 0}
    heaps = _heaps({queue for queue, _ in tasks}, by_id)
    levels = {queue: _levels(by_id, queue, of) for queue, of in ranks.items()} if ranks else None
    pairs: list[tuple[T, str]] = []
    for queue, task in tasks:
        if levels and queue in levels:
            slots = _best_of(levels[queue], by_id)
        else:
            slots = _best(heaps[queue], by_id)
        if slots is not None:
            slots.free -= 1
            pairs.append((task, slots.instance_id))
    return pairs


_Heap = list[tuple[float, Micros, str]]


def _rank(slots: Slots) -> tuple[float, Micros, str]:
    return (-slots.free / slots.size, slots.idle_since, slots.instance_id)


def _heaps(queues: set[Hashable], by_id: Mapping[str, Slots]) -> dict[Hashable, _Heap]:
    heaps: dict[Hashable, _Heap] = {}
    for queue in queues:
        heaps[queue] = [_rank(s) for s in by_id.values() if queue in s.queues]
        heapify(heaps[queue])
    return heaps


def _levels(
    by_id: Mapping[str, Slots], queue: Hashable, ranks: Mapping[str, tuple[float, ...]]
) -> list[_Heap]:
    """The instances of one queue, in heaps by their ranks."""
    levels: dict[tuple[float, ...], dict[str, Slots]] = {}
    for instance_id, slots in by_id.items():
        levels.setdefault(ranks.get(instance_id, (inf,)), {})[instance_id] = slots
    return [_heaps({queue}, levels[rank])[queue] for rank in sorted(levels)]


def _best_of(levels: Sequence[_Heap], by_id: Mapping[str, Slots]) -> Slots | None:
    for heap in levels:
        slots = _best(heap, by_id)
        if slots is not None:
            return slots
    return None


def _best(heap: _Heap, by_id: Mapping[str, Slots]) -> Slots | None:
    """The best instance; entries that went stale through other queues are put right on the way."""
    if len(heap) == 1:  # Whoever is alone is the best, whatever its rank.
        alone = by_id[heap[0][2]]
        return alone if alone.free > 0 else None
    while heap:
        entry = heappop(heap)
        slots = by_id[entry[2]]
        rank = _rank(slots)
        if slots.free > 0 and rank == entry:
            if slots.free > 1:
                heappush(heap, (-(slots.free - 1) / slots.size, slots.idle_since, entry[2]))
            return slots
        if slots.free > 0:
            heappush(heap, rank)
    return None
