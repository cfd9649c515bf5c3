"""What a store that several servers write to offers beside `Store`: turns, and what others did.

All decisions of all servers stand in one line. A server that wants to commit takes the turn, hears
what others have committed since it last looked, decides on that, and commits as many batches as it
likes before it gives the turn back. So what each server has in memory is, whenever it decides,
exactly what the store has; see docs/decisions/028-one-line-of-decisions.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from opscore.core.types import Micros


class Told(NamedTuple):
    """One commit, as the other servers hear of it.

    `number` counts the commits of a store without a gap. Its events have the positions from `first`
    to `last`; without events, `last` is `first - 1`. `data`: `Changes.told` of the batch.
    """

    number: int
    first: int
    last: int
    server: str
    data: bytes


class Announced(NamedTuple):
    """What another server said of itself last, and when, by the store's clock."""

    server: str
    at: Micros
    data: bytes


class Shared(Protocol):
    """The line in which the servers of one store stand."""

    server: str
    """This server's name in the store: new at every opening."""

    @property
    def leads(self) -> bool:
        """Whether this server does what one is enough for: sweeping, forgetting.

        Nothing depends on there being only one such server, or any for a moment.
        """
        ...

    @property
    def turn_over(self) -> bool:
        """Whether the turn has lasted long enough and somebody else waits for it."""
        ...

    async def begin_turn(self) -> Sequence[Told]:
        """Take the turn, if this server does not have it; what others committed meanwhile.

        Each commit is told once, in order; also one of this server's own whose outcome was not
        known. Until `end_turn` nobody else commits. Raises Unavailable.
        """
        ...

    async def end_turn(self) -> None:
        """Give the turn back. No transaction may be under way. Idempotent; raises nothing."""
        ...

    async def told(self) -> Sequence[Told]:
        """Without a turn: what others committed up to now. As for `begin_turn`, each is told once.

        Nothing while this server has the turn, for then nobody else commits. Raises Unavailable.
        """
        ...

    def listen(self, call: Callable[[], None]) -> None:
        """Let `call` hear, on the loop, that others may have committed, within moments of it."""
        ...

    async def announce(self, data: bytes) -> Sequence[Announced]:
        """Say something of this server to the others; what they said last. Raises Unavailable.

        What a server said is forgotten some seconds after it was last heard of.
        """
        ...
