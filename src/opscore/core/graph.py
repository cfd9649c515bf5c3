"""The graph of steps: order, ancestors, and a cycle told step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence


def topological_order(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Names so that each follows what it needs, in the given order where free (Kahn's algorithm).

    Every name in `needs` must be a key. Names that stand on or behind a cycle are left out.
    """
    missing = {name: len(set(wanted)) for name, wanted in needs.items()}
    dependents = dependents_of(needs)
    free = deque(name for name, count in missing.items() if count == 0)
    order: list[str] = []
    while free:
        name = free.popleft()
        order.append(name)
        for dependent in dependents[name]:
            missing[dependent] -= 1
            if missing[dependent] == 0:
                free.append(dependent)
    return tuple(order)


def dependents_of(needs: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The reverse of `needs`: which names need a name."""
    found: dict[str, list[str]] = {name: [] for name in needs}
    for name, wanted in needs.items():
        for other in dict.fromkeys(wanted):
            found[other].append(name)
    return {name: tuple(others) for name, others in found.items()}


def find_cycles(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Cycles that share no name, one for each knot: `[a, b, a]` says that a needs b needs a."""
    knotted = set(needs) - set(topological_order(needs))
    cycles: list[list[str]] = []
    explored: set[str] = set()
    for start in needs:
        if start in knotted and start not in explored:
            cycle = _walk_into_cycle(start, needs, knotted, explored)
            if cycle:
                cycles.append(cycle)
    return cycles


def _walk_into_cycle(
    start: str, needs: Mapping[str, Sequence[str]], knotted: set[str], explored: set[str]
) -> list[str]:
    # A knotted name needs at least one knotted name, so the walk can only end on its own path
    # or on ground that an earlier walk explored.
    path: list[str] = []
    at: dict[str, int] = {}
    name = start
    while name not in at:
        if name in explored:
            explored.update(path)
            return []
        at[name] = len(path)
        path.append(name)
        name = next(other for other in needs[name] if other in knotted)
    explored.update(path)
    return [*path[at[name] :], name]


def ancestors_of(
    needs: Mapping[str, Sequence[str]], order: Sequence[str]
) -> dict[str, frozenset[str]]:
    """For each name in `order`, all names that must have ended before it."""
    found: dict[str, frozenset[str]] = {}
    for name in order:
        direct = frozenset(needs[name])
        found[name] = direct.union(*(found[other] for other in direct))
    return found
