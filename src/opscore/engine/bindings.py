"""Credentials that are bound to one agent: as which agent they act."""

from __future__ import annotations

from opscore.core.access import may_act_as
from opscore.core.errors import Forbidden
from opscore.engine.registry import Registry


class Bindings:
    """A binding is to an agent's name; requests name agents by id."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def check(self, bound: str, namespace: str, agent_id: str) -> None:
        """Raises Forbidden, without telling whether there is such an agent."""
        agent = self._registry.find(namespace, agent_id)
        if not may_act_as(bound, agent_id, None if agent is None else agent.agent_name):
            raise Forbidden(f"This key acts only as the agent {bound}.")

    def agent_id(self, bound: str, namespace: str) -> str:
        """The id of the agent of this name. Raises Forbidden when it is not registered."""
        agent = self._registry.named(namespace, bound)
        if agent is None:
            raise Forbidden(f"The agent {bound}, as which this key acts, is not registered.")
        return agent.agent_id
