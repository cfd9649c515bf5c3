"""The API's routes, one thin typed call each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from opscore.sdk.calls import JSON, Calls, body_of, decode
from opscore.sdk.figures import Figures
from opscore.sdk.many import ManySessions
from opscore.sdk.server import segment
from opscore.wire.agent import (
    AgentPage,
    AgentView,
    DrainAgent,
    RegisterAgent,
    StateHistory,
    StateRecord,
)
from opscore.wire.agentkit import AgentKitView
from opscore.wire.limit import LimitPage
from opscore.wire.session import (
    History,
    Reason,
    SessionAccepted,
    SessionPage,
    SessionsAccepted,
    SessionView,
    WorkflowChecked,
    WorkflowCreated,
    WorkflowPage,
    WorkflowView,
)
from opscore.wire.trace import TraceView
from opscore.wire.why import WhyView

YAML = "application/yaml"


class Routes:
    """What all of them have: how the server is called."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def _tell(self, path: str, body: object) -> None:
        await self._calls.change("POST", path, body)

    async def _patch(self, path: str, **changes: Any) -> None:
        await self._calls.change("PATCH", path, body_of(**changes))


class Agents(Routes):
    """`/agent`."""

    async def list(
        self,
        *,
        capability: str | None = None,
        state: str | None = None,
        label: str | None = None,
        q: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> AgentPage:
        """A page of agents. `label` is `key=value`; `q` is text to find."""
        params = body_of(
            capability=capability, state=state, label=label, q=q, cursor=cursor, limit=limit
        )
        return await self._calls.get("/agent", AgentPage, params)

    async def get(self, agent_id: str) -> AgentView:
        """One agent with its instances."""
        return await self._calls.get(f"/agent/{segment(agent_id)}", AgentView)

    async def register(self, agent: RegisterAgent) -> AgentView:
        """Register, or update the agent of that id or name."""
        return decode(await self._calls.change("POST", "/agent", agent), AgentView)

    async def drain(
        self, agent_id: str, *, deadline_seconds: float | None = None, reason: str = ""
    ) -> None:
        """No more work for it; after the deadline its leases are released."""
        body = DrainAgent(deadline_seconds=deadline_seconds, reason=reason)
        await self._tell(f"/agent/{segment(agent_id)}/drain", body)

    async def activate(self, agent_id: str) -> None:
        """Let it take work again."""
        await self._tell(f"/agent/{segment(agent_id)}/activate", {})

    async def deregister(self, agent_id: str) -> None:
        """Forget it."""
        await self._calls.change("DELETE", f"/agent/{segment(agent_id)}")

    async def refresh(self) -> AgentKitView:
        """Let the server ask AgentKit now how it is and, where its version tells, for its agents."""
        answer = await self._calls.change("POST", "/internal/agent/refresh")
        return decode(answer, AgentKitView)

    async def state(self, agent_id: str) -> StateRecord:
        """Its current state."""
        return await self._calls.get(f"/agent/{segment(agent_id)}/state", StateRecord)

    async def history(
        self, agent_id: str, *, cursor: str | None = None, limit: int | None = None
    ) -> StateHistory:
        """A page of its states, oldest first."""
        path = f"/agent/{segment(agent_id)}/state/history"
        return await self._calls.get(path, StateHistory, body_of(cursor=cursor, limit=limit))


class Workflows(Routes):
    """`/workflow`."""

    async def apply(self, template: str | bytes | Mapping[str, Any]) -> WorkflowCreated:
        """Create a template version from YAML or JSON text, or from a tree."""
        body, kind = _document(template)
        answer = await self._calls.change("POST", "/workflow", body, content_type=kind)
        return decode(answer, WorkflowCreated)

    async def validate(self, template: str | bytes | Mapping[str, Any]) -> WorkflowChecked:
        """Every mistake in a template; nothing is stored."""
        body, kind = _document(template)
        answer = await self._calls.send("POST", "/workflow/validate", body=body, content_type=kind)
        return decode(answer, WorkflowChecked)

    async def get(self, name: str, version: str | None = None) -> WorkflowView:
        """One version; the latest created one when none is named."""
        path = f"/workflow/{segment(name)}"
        return await self._calls.get(
            path if version is None else f"{path}/{segment(version)}", WorkflowView
        )

    async def list(self, *, cursor: str | None = None, limit: int | None = None) -> WorkflowPage:
        """A page of templates."""
        return await self._calls.get("/workflow", WorkflowPage, body_of(cursor=cursor, limit=limit))


class Sessions(ManySessions, Figures, Routes):
    """`/session`."""

    async def start(
        self,
        workflow: str,
        input: Any = None,
        *,
        version: str | None = None,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        context: Any = None,
        callback: str | None = None,
        idempotency_key: str | None = None,
    ) -> SessionAccepted:
        """Start one; `input` defaults to an empty object.

        `callback`: the URL that is told when it has ended; `callback_secret` of the answer, shown
        only there, signs what is sent (`opscore.sdk.verify`). The same `idempotency_key` again, within 24 hours, gives the session that was started then.
        """
        body = body_of(
            workflow=workflow,
            input=input,
            version=version,
            priority=priority,
            labels=labels,
            context=context,
            callback=None if callback is None else {"url": callback},
        )
        answer = await self._calls.change("POST", "/session", body, key=idempotency_key)
        return decode(answer, SessionAccepted)

    async def start_many(
        self, workflow: str, inputs: Iterable[Any], *, idempotency_key: str | None = None
    ) -> list[str]:
        """Start up to 500 of one workflow in one commit; gives their ids in order."""
        body = {"sessions": [{"workflow": workflow, "input": one} for one in inputs]}
        answer = await self._calls.change("POST", "/session/batch", body, key=idempotency_key)
        return decode(answer, SessionsAccepted).session_ids

    async def list(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        agent: str | None = None,
        label: str | None = None,
        since: str | None = None,
        until: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> SessionPage:
        """A page of sessions, newest first. Times are RFC 3339, `label` is `key=value`."""
        params = body_of(
            workflow=workflow,
            status=status,
            agent=agent,
            label=label,
            since=since,
            until=until,
            cursor=cursor,
            limit=limit,
        )
        return await self._calls.get("/session", SessionPage, params)

    async def get(self, session_id: str) -> SessionView:
        """One session with its steps."""
        return await self._calls.get(f"/session/{segment(session_id)}", SessionView)

    async def history(
        self, session_id: str, *, cursor: str | None = None, limit: int | None = None
    ) -> History:
        """A page of its journal, oldest first."""
        path = f"/session/{segment(session_id)}/history"
        return await self._calls.get(path, History, body_of(cursor=cursor, limit=limit))

    async def why(self, session_id: str) -> WhyView:
        """What it waits for, since when, and who holds it up."""
        return await self._calls.get(f"/session/{segment(session_id)}/why", WhyView)

    async def trace(self, session_id: str) -> TraceView:
        """Where its time went, with its child sessions, and what it cost."""
        return await self._calls.get(f"/session/{segment(session_id)}/trace", TraceView)

    async def cancel(self, session_id: str, reason: str = "") -> None:
        """Stop it."""
        await self._tell(f"/session/{segment(session_id)}/cancel", Reason(reason=reason))

    async def pause(self, session_id: str, reason: str = "") -> None:
        """Start nothing new until it is resumed."""
        await self._tell(f"/session/{segment(session_id)}/pause", Reason(reason=reason))

    async def resume(self, session_id: str, reason: str = "") -> None:
        """Go on."""
        await self._tell(f"/session/{segment(session_id)}/resume", Reason(reason=reason))

    async def retry(self, session_id: str, reason: str = "") -> None:
        """Run the failed steps again, keeping completed outputs."""
        await self._tell(f"/session/{segment(session_id)}/retry", Reason(reason=reason))

    async def patch(
        self,
        session_id: str,
        *,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is given."""
        path = f"/session/{segment(session_id)}"
        await self._patch(path, priority=priority, labels=labels, metadata=metadata)

    async def delete(self, session_id: str) -> None:
        """Remove one that has ended."""
        await self._calls.change("DELETE", f"/session/{segment(session_id)}")


class Limits(Routes):
    """`/limit`."""

    async def list(self, *, cursor: str | None = None, limit: int | None = None) -> LimitPage:
        """A page of the concurrency and rate keys in use."""
        return await self._calls.get("/limit", LimitPage, body_of(cursor=cursor, limit=limit))


def _document(template: str | bytes | Mapping[str, Any]) -> tuple[bytes, str]:
    if isinstance(template, bytes):
        return template, YAML
    if isinstance(template, str):
        return template.encode(), YAML
    return msgspec.json.encode(template), JSON
