"""Reasons why a step of a session does not go on that are no business of agents."""

from __future__ import annotations

from typing import ClassVar

from opscore.core.record import record
from opscore.core.types import Micros


@record
class WaitsForTime:
    """A step waits until then."""

    KIND: ClassVar[str] = "wait"
    step: str
    since: Micros
    until: Micros


@record
class WaitsForSignal:
    """A step waits for a signal of this name, until then if that is bounded."""

    KIND: ClassVar[str] = "signal"
    step: str
    since: Micros
    until: Micros | None
    name: str


@record
class WaitsForApproval:
    """A step waits for people: `by` may decide (nobody named: anybody), `votes` of `quorum` have."""

    KIND: ClassVar[str] = "approval"
    step: str
    since: Micros
    until: Micros | None
    title: str
    approvers: tuple[str, ...]
    votes: int
    quorum: int


@record
class LimitFull:
    """A concurrency key has no room: `holders` are the attempts in flight under it."""

    KIND: ClassVar[str] = "limit"
    step: str
    since: Micros
    tasks: tuple[str, ...]
    count: int
    key: str
    limit: int
    in_use: int
    holders: tuple[tuple[str, int], ...]
    position: int


@record
class RateShut:
    """A rate is used up until then."""

    KIND: ClassVar[str] = "rate"
    step: str
    since: Micros
    until: Micros
    tasks: tuple[str, ...]
    count: int
    key: str
    limit: int
    per: Micros
    position: int


@record
class SessionsFull:
    """The session is not let in yet: as many `sessions` as may are under way under the key."""

    KIND: ClassVar[str] = "limit"
    since: Micros
    key: str
    limit: int
    in_use: int
    sessions: tuple[str, ...]
    position: int


@record
class StartsShut:
    """The session is not let in yet: the rate of its template is used up until then."""

    KIND: ClassVar[str] = "rate"
    since: Micros
    until: Micros
    key: str
    limit: int
    per: Micros
    position: int


@record
class Children:
    """A step's child sessions are under way."""

    KIND: ClassVar[str] = "children"
    step: str
    since: Micros
    sessions: tuple[str, ...]
    count: int
