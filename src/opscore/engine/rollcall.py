"""Who is there: signs of life, verdicts on those who gave none, and why nobody takes a task."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from opscore.core import agent as core
from opscore.core.agent import Agent, Availability
from opscore.core.errors import Refusal
from opscore.core.match_rules import choice_of
from opscore.core.template import Target
from opscore.core.types import Micros
from opscore.core.why import Taker
from opscore.engine.agent_requests import Arrive, Depart, EndDrain, GoOffline
from opscore.engine.choosers import agent_view
from opscore.engine.connections import Floor
from opscore.engine.presence import Instance
from opscore.engine.requests import Beat
from opscore.engine.writer import Command

FORGOTTEN_AFTER = 20
"""An absent instance is shown for this many times `offline_after`."""

log = structlog.get_logger("opscore.agent")


class RollCall:
    """Signs of life and their absence. `opened_at`: from when on absence counts."""

    def __init__(self, floor: Floor, offline_after: Micros) -> None:
        self._floor = floor
        self._offline_after = offline_after
        self.opened_at: Micros = 0

    async def heartbeat(
        self, agent: Agent, instance_id: str, attempts: Sequence[tuple[str, int]], actor: str
    ) -> list[tuple[str, int]]:
        """An instance is alive and works on these; the stale ones among them."""
        floor = self._floor
        instance = floor.presence.instance(agent.agent_id, instance_id)
        if instance is not None and instance.online and not agent.absent:
            instance.last_seen = floor.now()
            floor.presence.see(agent.agent_id, instance.last_seen)
        else:
            await floor.writer.submit(self._arrive(agent, instance_id, actor))
        if not attempts:
            return []
        beat = Beat(attempts, agent.namespace, instance_id, agent_id=agent.agent_id)
        return await floor.writer.submit(beat)

    def _arrive(self, agent: Agent, instance_id: str, actor: str) -> Arrive:
        floor = self._floor

        def seen(owned: list[tuple[str, int]]) -> None:
            if floor.registry.by_id(agent.agent_id) is not None:
                instance = floor.presence.arrive(
                    agent.agent_id, instance_id, floor.now(), len(owned)
                )
                instance.max_in_flight = instance.max_in_flight or agent.max_in_flight

        return Arrive(
            floor.registry,
            floor.presence,
            floor.dispatcher,
            agent.namespace,
            agent.agent_id,
            instance_id,
            agent.max_in_flight,
            None,
            seen,
            actor,
            sits=False,
        )

    # -- absence ----------------------------------------------------------------------------

    async def sweep(self, now: Micros, *, leads: bool) -> None:
        """Agents and instances not seen for too long are written down as gone, drains end.

        Agents only by the server that leads. A refusal is logged; the next sweep tries again.
        """
        commands = self._lapsed(now)
        if leads:
            commands += [*self._absent(now), *self._drained(now)]
        pending = [self._floor.writer.submit(command) for command in commands]
        for future in pending:
            try:
                await future
            except Refusal as refusal:
                log.warning("presence_not_recorded", error=refusal.detail)

    def _lapsed(self, now: Micros) -> list[Command[None]]:
        """Instances that came without a connection and did not come again."""
        presence = self._floor.presence
        gone: list[Instance] = []
        commands: list[Command[None]] = []
        for instance in presence.all_instances():
            if instance.seat is None and self._waits(instance):
                instance.last_seen = now
            silent = now - instance.last_seen
            if instance.seat is not None or silent < self._offline_after:
                continue
            if instance.online:
                instance.online = False
                commands.append(self._depart(instance))
            elif silent >= FORGOTTEN_AFTER * self._offline_after:
                gone.append(instance)
        presence.forget_instances(gone)
        return commands

    def _waits(self, instance: Instance) -> bool:
        """Whether a poll of this instance is under way."""
        seat = self._floor.dispatcher.seat(instance.instance_id)
        return seat is not None and seat.agent_id == instance.agent_id

    def _depart(self, instance: Instance) -> Depart:
        floor = self._floor
        why = "not seen for too long"
        return Depart(floor.registry, floor.presence, instance.agent_id, instance.instance_id, why)

    def _absent(self, now: Micros) -> list[Command[None]]:
        registry = self._floor.registry
        return [
            GoOffline(registry, agent.agent_id, self._is_absent)
            for agent in registry.agents()
            if not agent.absent and self._is_absent(agent, now)
        ]

    def _is_absent(self, agent: Agent, now: Micros) -> bool:
        presence = self._floor.presence
        return core.is_absent(
            agent,
            online=presence.online(agent.agent_id),
            last_seen=max(presence.last_seen(agent.agent_id), self.opened_at),
            now=now,
            offline_after=self._offline_after,
        )

    def _drained(self, now: Micros) -> list[Command[None]]:
        registry = self._floor.registry
        return [
            EndDrain(registry, agent.agent_id)
            for agent in registry.agents()
            if agent.drain_deadline is not None and agent.drain_deadline <= now
        ]

    # -- availability -----------------------------------------------------------------------

    def availability(self, agent: Agent) -> Availability:
        """Whether an agent may be given work now."""
        presence = self._floor.presence
        seats = self._floor.dispatcher.seats(agent.agent_id)
        verdict = core.availability(
            agent,
            in_flight=presence.in_flight(agent.agent_id),
            slots=self._slots(agent),
            connected=bool(seats) or presence.online(agent.agent_id),
        )
        why = seats[0].why if seats else None
        return why if why is not None and verdict is Availability.AVAILABLE else verdict

    def _slots(self, agent: Agent) -> int:
        seats = self._floor.dispatcher.seats(agent.agent_id)
        return sum(s.max_in_flight for s in seats) if agent.connects else agent.max_in_flight

    def takers(self, namespace: str, target: Target) -> list[Taker]:
        """Who could take a task for this target, and whether each may be given one now."""
        registry = self._floor.registry
        if target.agent is not None:
            named = registry.named(namespace, target.agent)
            agents = [] if named is None else [named]
        else:
            agents = registry.capable(namespace, target.capability or "")
        if target.match is not None:
            choice = choice_of(target.match)
            agents = [agent for agent in agents if choice.fits(agent_view(agent))]
        return [self._taker(agent) for agent in agents]

    def _taker(self, agent: Agent) -> Taker:
        in_flight = self._floor.presence.in_flight(agent.agent_id)
        return Taker(
            agent.agent_id,
            agent.agent_name,
            self.availability(agent),
            in_flight,
            self._slots(agent),
        )
