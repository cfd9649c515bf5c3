"""Which instances of which agents are there.

In memory only: after a start, everybody is given `offline_after` to come back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opscore.core.errors import Conflict
from opscore.core.types import Micros
from opscore.engine.seats import Seat
from opscore.engine.unit import Unit

INSTANCES_PER_AGENT = 10_000


@dataclass(slots=True)
class Instance:
    """One process of an agent. `held` counts its attempts while it has no seat."""

    agent_id: str
    instance_id: str
    max_in_flight: int
    last_seen: Micros
    online: bool = True
    seat: Seat | None = None
    connected_at: Micros | None = None
    held: int = 0

    @property
    def in_flight(self) -> int:
        """How many attempts it has."""
        return len(self.seat.holding) if self.seat is not None else self.held


class Presence:
    """Instances by agent, and when each agent was last heard of."""

    def __init__(self) -> None:
        self._instances: dict[str, dict[str, Instance]] = {}
        self._seen: dict[str, Micros] = {}
        self._seatless: dict[str, Instance] = {}
        self._registered: dict[str, Micros] = {}

    def see(self, agent_id: str, now: Micros) -> None:
        """A sign of life."""
        self._seen[agent_id] = now

    def registered(self, agent_id: str, now: Micros) -> None:
        """Its registration was told, changed or not."""
        self._registered[agent_id] = now
        self.see(agent_id, now)

    def registered_at(self, agent_id: str) -> Micros:
        """When its registration was last told to this process; 0: never."""
        return self._registered.get(agent_id, 0)

    def last_seen(self, agent_id: str) -> Micros:
        """When the agent was last heard of; 0: never."""
        return self._seen.get(agent_id, 0)

    def instances(self, agent_id: str) -> list[Instance]:
        """All known instances of an agent."""
        return list(self._instances.get(agent_id, {}).values())

    def instance(self, agent_id: str, instance_id: str) -> Instance | None:
        """One instance."""
        return self._instances.get(agent_id, {}).get(instance_id)

    def all_instances(self) -> list[Instance]:
        """All known instances of all agents."""
        return [i for known in self._instances.values() for i in known.values()]

    def is_online(self, agent_id: str, instance_id: str) -> bool:
        """Whether this instance is there."""
        instance = self.instance(agent_id, instance_id)
        return instance is not None and instance.online

    def online(self, agent_id: str) -> bool:
        """Whether any instance of the agent is there."""
        return any(i.online for i in self._instances.get(agent_id, {}).values())

    def in_flight(self, agent_id: str) -> int:
        """How many attempts the agent has."""
        return sum(i.in_flight for i in self._instances.get(agent_id, {}).values())

    def arrive(self, agent_id: str, instance_id: str, now: Micros, held: int) -> Instance:
        """The instance is there, without a seat so far."""
        known = self._instances.setdefault(agent_id, {})
        instance = known.get(instance_id)
        if instance is None:
            instance = known[instance_id] = Instance(agent_id, instance_id, 0, now)
        instance.online, instance.last_seen = True, now
        if instance.seat is None:
            instance.held = held
            self._seatless[instance_id] = instance
        self.see(agent_id, now)
        return instance

    def check_room(self, agent_id: str, instance_id: str) -> None:
        """Raises Conflict when the agent has too many instances for another one."""
        known = self._instances.get(agent_id, {})
        if instance_id not in known and len(known) >= INSTANCES_PER_AGENT:
            raise Conflict(f"agent {agent_id} has {len(known)} instances already")

    def sit(self, instance: Instance, seat: Seat, now: Micros) -> None:
        """The instance has a connection."""
        instance.seat, instance.connected_at = seat, now
        instance.max_in_flight = seat.max_in_flight
        self._seatless.pop(instance.instance_id, None)

    def stand(self, instance: Instance, now: Micros, *, online: bool) -> None:
        """The connection is gone; what it holds is counted on. `online`: it will poll again."""
        instance.held = instance.in_flight
        instance.seat = instance.connected_at = None
        instance.last_seen, instance.online = now, online
        self._seatless[instance.instance_id] = instance
        self.see(instance.agent_id, now)

    def count(self, unit: Unit) -> None:
        """Follow the attempts of instances without a seat, after a commit."""
        if not self._seatless:
            return
        for lease in unit.changes.leases.values():
            if (instance := self._seatless.get(lease.instance_id)) is not None:
                instance.held += 1
        for instance_id, _ in unit.freed.values():
            if (instance := self._seatless.get(instance_id)) is not None:
                instance.held = max(0, instance.held - 1)

    def forget(self, agent_id: str) -> None:
        """The agent is gone."""
        self.forget_instances(self.instances(agent_id))
        self._seen.pop(agent_id, None)
        self._registered.pop(agent_id, None)

    def forget_instances(self, instances: Iterable[Instance]) -> None:
        """These are of no interest any more."""
        for instance in instances:
            known = self._instances.get(instance.agent_id, {})
            known.pop(instance.instance_id, None)
            self._seatless.pop(instance.instance_id, None)
            if not known:
                self._instances.pop(instance.agent_id, None)
