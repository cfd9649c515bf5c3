"""Queues of tasks that choose among the agents with their capability: who fits, who comes first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opscore.core.agent import Agent, shown_state
from opscore.core.expressions import AgentView, Expressions
from opscore.core.match_rules import Choice, choice_of
from opscore.engine.projection import queue_name, queue_target

if TYPE_CHECKING:
    from opscore.engine.seats import Seat

Queue = tuple[str, str]
"""(namespace, queue name)."""

Rank = tuple[float, ...]

Ranks = Mapping[Queue, Mapping[str, Rank]]
"""By queue and instance: the lowest comes first."""


def agent_view(agent: Agent, in_flight: int = 0, free: int = 0) -> AgentView:
    """What matching rules see of an agent, or of one of its processes."""
    return AgentView(
        agent.agent_name,
        agent.version,
        agent.labels,
        agent.metadata,
        shown_state(agent, in_flight).value,
        free,
    )


@dataclass(slots=True)
class Chooser:
    """One such queue. `ranked`: what seats were found to be, and when they were so."""

    choice: Choice
    plain: Queue
    ranked: dict[str, tuple[Agent, int, int, Rank]] = field(
        default_factory=dict[str, tuple[Agent, int, int, Rank]]
    )

    def may_take(self, seat: Seat) -> bool:
        """Whether its agent has the capability, and is one of those that such tasks ask for."""
        agent = seat.agent
        if agent is None or self.plain not in seat.queues:
            return False
        return self.choice.fits(agent_view(agent))

    def rank(self, seat: Seat, expressions: Expressions) -> Rank:
        """Evaluated again only when something about the seat has changed."""
        agent, held, free = seat.agent, len(seat.holding), seat.free
        assert agent is not None
        known = self.ranked.get(seat.instance_id)
        if known is not None and known[0] is agent and known[1:3] == (held, free):
            return known[3]
        rank = self.choice.rank(agent_view(agent, held, free), expressions)
        self.ranked[seat.instance_id] = (agent, held, free, rank)
        return rank


class Choosers(dict[Queue, Chooser]):
    """The queues known so far, each with its rules."""

    def __init__(self, expressions: Expressions) -> None:
        super().__init__()
        self._expressions = expressions

    def add(self, queue: Queue) -> Chooser:
        """Know a queue from now on."""
        namespace, name = queue
        target = queue_target(name)
        assert target.match is not None
        plain = (namespace, queue_name(target.capability, None))
        chooser = self[queue] = Chooser(choice_of(target.match), plain)
        return chooser

    def of(self, seat: Seat) -> frozenset[Queue]:
        """Those of them that a seat serves."""
        return frozenset(queue for queue, chooser in self.items() if chooser.may_take(seat))

    def sorted(self, queue: Queue, seats: Iterable[Seat]) -> list[Seat]:
        """Who is preferred first."""
        chooser = self[queue]
        if not chooser.choice.ranks:
            return list(seats)
        return sorted(seats, key=lambda seat: chooser.rank(seat, self._expressions))

    def ranks(self, queues: Iterable[Queue], free: Mapping[Queue, Mapping[str, Seat]]) -> Ranks:
        """Of the queues that prefer some, the ranks of the seats with free slots."""
        return {
            queue: {i: self[queue].rank(seat, self._expressions) for i, seat in free[queue].items()}
            for queue in queues
            if queue in free and queue in self and self[queue].choice.ranks
        }
