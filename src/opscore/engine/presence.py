"""Which instances of which agents are there.

In memory only: after a start, everybody is given `offline_after` to come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opscore.core.errors import Conflict
from opscore.core.types import Micros
from opscore.engine.seats import Seat
from opscore.store.rows import LeaseRow

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


def _is_here(instance: Instance, elsewhere: Mapping[str, Instance]) -> bool:
    """Whether it was last heard of here: it may have left a server without a word."""
    there = elsewhere.get(instance.instance_id)
    return there is None or (instance.online and instance.last_seen >= there.last_seen)


class Presence:
    """Instances by agent, and when each agent was last heard of."""

    def __init__(self) -> None:
        self._instances: dict[str, dict[str, Instance]] = {}
        self._seen: dict[str, Micros] = {}
        self._seatless: dict[str, Instance] = {}
        self._elsewhere: dict[str, dict[str, Instance]] = {}
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
        elsewhere = self._elsewhere.get(agent_id, {}).values()
        return max([self._seen.get(agent_id, 0), *(i.last_seen for i in elsewhere)])

    def instances(self, agent_id: str) -> list[Instance]:
        """All known instances of an agent, each where it is."""
        here = self._instances.get(agent_id, {})
        elsewhere = self._elsewhere.get(agent_id)
        if not elsewhere:
            return list(here.values())
        return [
            *{**elsewhere, **{k: i for k, i in here.items() if _is_here(i, elsewhere)}}.values()
        ]

    def set_elsewhere(self, instances: Iterable[Instance]) -> None:
        """Exactly these are with other servers now."""
        self._elsewhere = {}
        for instance in instances:
            self._elsewhere.setdefault(instance.agent_id, {})[instance.instance_id] = instance

    def sits_elsewhere(self, agent_id: str, instance_id: str, now: Micros) -> None:
        """The instance has connected to another server, which will tell more of it."""
        instance = Instance(agent_id, instance_id, 0, now, connected_at=now)
        self._elsewhere.setdefault(agent_id, {})[instance_id] = instance

    def here(self) -> list[Instance]:
        """Those that are with this server."""
        return [instance for instance in self.all_instances() if instance.online]

    def instance(self, agent_id: str, instance_id: str) -> Instance | None:
        """One instance."""
        return self._instances.get(agent_id, {}).get(instance_id)

    def all_instances(self) -> list[Instance]:
        """All known instances of all agents that this server has heard of itself."""
        return [i for known in self._instances.values() for i in known.values()]

    def is_online(self, agent_id: str, instance_id: str) -> bool:
        """Whether this instance is there."""
        return any(i.online for i in self.instances(agent_id) if i.instance_id == instance_id)

    def online(self, agent_id: str) -> bool:
        """Whether any instance of the agent is there."""
        return any(i.online for i in self.instances(agent_id))

    def in_flight(self, agent_id: str) -> int:
        """How many attempts the agent has."""
        return sum(i.in_flight for i in self.instances(agent_id))

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

    def count(self, leases: Iterable[LeaseRow], freed: Mapping[str, tuple[str, int]]) -> None:
        """Follow the attempts of instances without a seat, after a commit."""
        if not self._seatless:
            return
        for lease in leases:
            if (instance := self._seatless.get(lease.instance_id)) is not None:
                instance.held += 1
        for instance_id, _ in freed.values():
            if (instance := self._seatless.get(instance_id)) is not None:
                instance.held = max(0, instance.held - 1)

    def forget(self, agent_id: str) -> None:
        """The agent is gone."""
        self.forget_instances(list(self._instances.get(agent_id, {}).values()))
        self._elsewhere.pop(agent_id, None)
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
