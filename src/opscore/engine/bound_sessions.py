"""Sessions as an agent's verbs see them: started for it, and changed only when bound to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from opscore.core.agent import Agent
from opscore.core.errors import Invalid, NotFound
from opscore.core.types import DEFAULT_NAMESPACE, SYSTEM, Actor, Json
from opscore.engine.records import SessionRecord
from opscore.engine.registry import Registry

CHANGEABLE = frozenset({"priority", "labels", "metadata"})


class Sessions(Protocol):
    """The verbs of sessions that agents need; `Orchestration` has them."""

    async def start(
        self,
        workflow: str,
        *,
        version: str | None = ...,
        input: Json = ...,
        context: Json = ...,
        priority: int | None = ...,
        labels: Mapping[str, str] = ...,
        agent_id: str | None = ...,
        namespace: str = ...,
        actor: Actor = ...,
    ) -> str:
        """Start a session; its id."""
        ...

    async def get_session(self, session_id: str, *, namespace: str = ...) -> SessionRecord:
        """One session."""
        ...

    async def patch_session(
        self,
        session_id: str,
        *,
        priority: int | None = ...,
        labels: Mapping[str, str] | None = ...,
        metadata: Any = ...,
        namespace: str = ...,
        actor: Actor = ...,
    ) -> SessionRecord:
        """Change a session."""
        ...


class BoundSessions:
    """The part of `Lifecycle` that concerns sessions of an agent."""

    def __init__(self, registry: Registry, sessions: Sessions) -> None:
        self._registry = registry
        self._sessions = sessions

    async def start_session(
        self,
        agent_id: str,
        workflow_id: str,
        *,
        input: Json = b"{}",
        context: Json = b"{}",
        version: str | None = None,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> str:
        """Start a session bound to this agent; its id. Raises NotFound and what `start` raises."""
        agent = self._registry.require(namespace, agent_id)
        return await self._sessions.start(
            workflow_id,
            version=version,
            input=input,
            context=context,
            priority=priority,
            labels=labels or {},
            agent_id=agent.agent_id,
            namespace=namespace,
            actor=actor,
        )

    async def update_session(
        self,
        agent_id: str,
        session_id: str,
        changes: Mapping[str, Any],
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> SessionRecord:
        """Change `priority`, `labels` or `metadata` of a session that is bound to this agent.

        Raises NotFound, Invalid for another key, and what `patch_session` raises.
        """
        agent = self._registry.require(namespace, agent_id)
        return await _update_bound(self._sessions, agent, session_id, changes, actor)


async def _update_bound(
    sessions: Sessions, agent: Agent, session_id: str, changes: Mapping[str, Any], actor: Actor
) -> SessionRecord:
    """Change a session that is bound to `agent`. Raises Invalid for an unknown key, NotFound."""
    unknown = sorted(set(changes) - CHANGEABLE)
    if unknown:
        raise Invalid(f"a session has no {unknown[0]} to change")
    session = await sessions.get_session(session_id, namespace=agent.namespace)
    if session.agent_id != agent.agent_id:
        raise NotFound(f"agent {agent.agent_id} has no session {session_id}")
    return await sessions.patch_session(
        session_id,
        priority=changes.get("priority"),
        labels=changes.get("labels"),
        metadata=changes.get("metadata"),
        namespace=agent.namespace,
        actor=actor,
    )
