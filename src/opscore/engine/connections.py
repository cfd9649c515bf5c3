"""A connection of an instance: its seat at the dispatcher, its slots, its signs of life."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from opscore.core.agent import Agent, Availability
from opscore.core.errors import Unavailable
from opscore.core.types import AgentState, Micros
from opscore.engine.agent_requests import Arrive, Depart
from opscore.engine.dispatcher import Dispatcher
from opscore.engine.presence import Presence
from opscore.engine.registry import Registry
from opscore.engine.requests import Beat
from opscore.engine.seats import Receiver, Seat, queues_of
from opscore.engine.writer import Writer

log = structlog.get_logger("opscore.agent")


@dataclass(frozen=True, slots=True)
class Floor:
    """What every connection works with."""

    writer: Writer
    dispatcher: Dispatcher
    registry: Registry
    presence: Presence
    now: Callable[[], Micros]


def _why_draining(agent: Agent) -> str:
    return agent.drain_reason if agent.draining else "the agent reported that it drains"


def follow(dispatcher: Dispatcher, agent: Agent) -> None:
    """Let the seats of an agent have the queues and the orders that it has now."""
    queues = queues_of(agent.namespace, agent.agent_name, agent.capabilities)
    draining = agent.state is AgentState.DRAINING
    for seat in dispatcher.seats(agent.agent_id):
        told, before = seat.draining, seat.agent
        seat.agent = agent
        if seat.draining != draining or not _same_offer(before, agent):
            dispatcher.serve(seat, queues, draining=draining)
        if draining and not told:
            seat.receiver.drain(_why_draining(agent))


def _same_offer(before: Agent | None, agent: Agent) -> bool:
    """Whether the same tasks are for it as before."""
    return before is not None and before.content == agent.content


class Connection:
    """One connection of one instance, made by `Lifecycle.connect`.

    `stale`: of the attempts that the instance said it holds, those that are not its own any more;
    `owned`: those that it holds from before.
    """

    def __init__(
        self,
        floor: Floor,
        agent: Agent,
        instance_id: str,
        max_in_flight: int,
        receiver: Receiver,
        *,
        polling: bool,
    ) -> None:
        self.stale: list[tuple[str, int]] = []
        self.owned: list[tuple[str, int]] = []
        self.agent_id = agent.agent_id
        self.instance_id = instance_id
        self._floor = floor
        self._namespace = agent.namespace
        self._max_in_flight = max_in_flight
        self._receiver = receiver
        self._polling = polling
        self._seat: Seat | None = None
        self._left = False

    async def open(self, holding: Sequence[tuple[str, int]] | None) -> None:
        """Take a seat, once the commit that says so is durable. Raises NotFound, Conflict."""
        floor = self._floor
        arrive = Arrive(
            floor.registry,
            floor.presence,
            floor.dispatcher,
            self._namespace,
            self.agent_id,
            self.instance_id,
            self._max_in_flight,
            holding,
            self._sit,
            f"agent:{self.agent_id}",
            sits=True,
        )
        try:
            self.stale = await floor.writer.submit(arrive)
        except BaseException:
            # Whoever wanted to connect is gone, but the command may still be carried out.
            self._leave()
            raise

    def _sit(self, owned: list[tuple[str, int]]) -> None:
        """After the commit: what the instance owns takes slots, new tasks may come."""
        floor = self._floor
        agent = floor.registry.by_id(self.agent_id)
        if agent is None:
            self._receiver.close("the agent was deregistered")
            return
        now = floor.now()
        self.owned = owned
        instance = floor.presence.arrive(self.agent_id, self.instance_id, now, len(owned))
        if self._left:
            return
        self._seat = seat = Seat(
            namespace=self._namespace,
            agent_id=self.agent_id,
            instance_id=self.instance_id,
            queues=queues_of(agent.namespace, agent.agent_name, agent.capabilities),
            max_in_flight=self._max_in_flight,
            receiver=self._receiver,
            agent=agent,
            idle_since=now,
            holding=dict(owned),
            draining=agent.state is AgentState.DRAINING,
        )
        floor.presence.sit(instance, seat, now)
        floor.dispatcher.sit(seat)
        if seat.draining:
            self._receiver.drain(_why_draining(agent))

    def ready(self, max_in_flight: int, why: Availability | None = None) -> None:
        """The instance takes this many attempts at once from now on; 0: none for now, and why."""
        self._max_in_flight = max_in_flight
        if self._seat is None:
            return
        self._seat.max_in_flight, self._seat.why = max_in_flight, why
        instance = self._floor.presence.instance(self.agent_id, self.instance_id)
        if instance is not None and instance.seat is self._seat:
            instance.max_in_flight = max_in_flight
        self._floor.dispatcher.refresh(self._seat)

    def holds(self, attempt: tuple[str, int]) -> bool:
        """Whether the attempt, which was handed out here, is not over yet."""
        return self._seat is not None and self._seat.holding.get(attempt[0]) == attempt[1]

    async def heartbeat(self, attempts: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Still there, and still working on these: extends their leases. The stale ones."""
        instance = self._floor.presence.instance(self.agent_id, self.instance_id)
        if instance is not None:
            instance.last_seen = self._floor.now()
        if not attempts:
            return []
        beat = Beat(attempts, self._namespace, self.instance_id, agent_id=self.agent_id)
        return await self._floor.writer.submit(beat)

    async def keep(
        self, attempts: Sequence[tuple[str, int]], until: Micros
    ) -> list[tuple[str, int]]:
        """Give attempts of an agent that we call so much time. The stale ones among them."""
        beat = Beat(attempts, self._namespace, self.instance_id, until)
        return await self._floor.writer.submit(beat)

    async def disconnect(self) -> None:
        """The connection is gone; its leases run on until they expire or the next hello."""
        if self._leave() and not self._polling:
            try:
                await self._floor.writer.submit(self._depart())
            except Unavailable as error:
                log.info("departure_not_recorded", agent_id=self.agent_id, error=error.detail)

    def _depart(self) -> Depart:
        floor = self._floor
        why = "the connection ended"
        return Depart(floor.registry, floor.presence, self.agent_id, self.instance_id, why)

    def _leave(self) -> bool:
        """Give the seat up; whether the instance is without a connection now."""
        self._left = True
        seat, self._seat = self._seat, None
        if seat is None:
            return False
        self._floor.dispatcher.leave(seat)
        instance = self._floor.presence.instance(self.agent_id, self.instance_id)
        if instance is None or instance.seat is not seat:
            return False
        now = self._floor.now()
        self._floor.presence.stand(instance, now, online=self._polling)
        return True
