"""Limits of concurrency and of rate: what a task must find room under before it is claimed.

Both have a key, which is shared by everything in the namespace that names it. Concurrency counts
the attempts in flight. Rates follow the generic cell rate algorithm (ITU-T I.371, annex A): one
number for each key, the theoretical arrival time; `limit` at once, then one every `per / limit`.
"""

from __future__ import annotations

from dataclasses import dataclass

from opscore.core.types import Micros

QUEUE, CANCEL_OLDEST, REJECT = "queue", "cancelOldest", "reject"
ON_FULL = (QUEUE, CANCEL_OLDEST, REJECT)
LONGEST_KEY = 256


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits of one task, its keys rendered. At least one of the two keys is there.

    `sessions`: they are those of a whole session, whose concurrency counts sessions.
    """

    concurrency: str | None = None
    limit: int = 0
    on_full: str = QUEUE
    rate: str | None = None
    starts: int = 0
    per: Micros = 0
    sessions: bool = False


@dataclass(frozen=True, slots=True)
class Shut:
    """How a limit stands.

    `kind`: concurrency (`holders` are the attempts in flight), sessions (they are the sessions that
    were let in, each with a 0) or rate.
    `until`: when a rate opens; `ahead`: how many tasks wait, of a task's own limit those before it.
    """

    kind: str
    key: str
    limit: int
    per: Micros
    in_use: int
    holders: tuple[tuple[str, int], ...]
    until: Micros | None
    ahead: int


def opens_at(tat: Micros, starts: int, per: Micros) -> Micros:
    """From when on a rate lets the next one through. `tat`: its theoretical arrival time."""
    return tat - (per - interval(starts, per))


def passed(tat: Micros, now: Micros, starts: int, per: Micros) -> Micros:
    """The theoretical arrival time after one has gone through at `now`."""
    return max(tat, now) + interval(starts, per)


def interval(starts: int, per: Micros) -> Micros:
    """Between two starts of a steady flow; rounded up, so that a rate is never exceeded."""
    return -(-per // starts)
