"""Routes of agents: registration, state, presence, work."""

from __future__ import annotations

from typing import Any

import msgspec

from opscore.api.answer import NO_CONTENT, accepted, created, ok
from opscore.api.call import Call
from opscore.api.etags import etag, if_match
from opscore.api.route import Reply, Routes
from opscore.api.trigger import trigger
from opscore.api.views import agent_view, state_view
from opscore.channels.attempts import attempt_view
from opscore.channels.http import secret_of
from opscore.core.errors import Fault, Invalid
from opscore.core.types import Actor
from opscore.engine.lifecycle import AgentDetails
from opscore.wire.agent import (
    AgentHeartbeat,
    AgentPage,
    AgentView,
    Claimed,
    ClaimTasks,
    DrainAgent,
    HeartbeatAnswer,
    PatchAgent,
    RegisterAgent,
    StateHistory,
    StateRecord,
    StateReport,
)
from opscore.wire.queries import ListAgents, LongPageQuery
from opscore.wire.session import TriggerAccepted, TriggerWorkflow

routes = Routes("agent")


@routes.body("POST", "/agent", "agent:register", RegisterAgent, {201: AgentView, 200: AgentView})
async def register_agent(call: Call, body: RegisterAgent) -> Reply:
    """Register an agent, or update it: idempotent by `agentId`, else by `agentName`."""
    for pointer, text in (("/agentId", body.agent_id), ("/agentName", body.agent_name)):
        if text is not None and "/" in text:
            fault = Fault(pointer, "A slash is not possible in an id: it stands in paths")
            raise Invalid(f"{pointer} must not contain a slash.", faults=[fault])
    details = AgentDetails(
        agent_name=body.agent_name,
        agent_id=body.agent_id,
        version=body.version,
        capabilities=tuple(body.capabilities),
        channel=body.channel,
        contact_endpoint=body.contact_endpoint,
        max_in_flight=body.max_in_flight,
        labels=body.labels,
        metadata=body.metadata,
        schemas=body.schemas,
    )
    record = await call.engine.lifecycle.register_agent(
        details, bound=call.principal.agent, namespace=call.namespace, actor=call.actor
    )
    view = agent_view(record)
    if not record.created:
        return ok(view, etag(record))
    signed = record.channel == "http"
    if signed:
        view.signing_secret = secret_of(call.engine.signing, record)
    return created(view, etag(record), secret=signed)


@routes.query("/agent", "session:read", ListAgents, {200: AgentPage})
async def list_agents(call: Call, query: ListAgents) -> Reply:
    """List agents."""
    page = await call.engine.lifecycle.list_agents(
        capability=query.capability,
        state=query.state,
        label=query.label,
        q=query.q,
        cursor=query.cursor,
        limit=query.limit,
        namespace=call.namespace,
    )
    agents = [agent_view(one) for one in page.items]
    return ok(AgentPage(agents=agents, next_cursor=page.next_cursor))


@routes.plain("GET", "/agent/{agentId}", "session:read", {200: AgentView})
async def get_agent(call: Call) -> Reply:
    """Read an agent with its instances, load and last error."""
    record = await call.engine.lifecycle.get_agent(call.part("agentId"), namespace=call.namespace)
    return ok(agent_view(record), etag(record))


@routes.body("PATCH", "/agent/{agentId}", "operate", PatchAgent, {200: AgentView}, if_match=True)
async def patch_agent(call: Call, body: PatchAgent) -> Reply:
    """Change an agent; only the fields given change."""
    record = await call.engine.lifecycle.patch_agent(
        call.part("agentId"),
        given(body),
        seen=if_match(call),
        namespace=call.namespace,
        actor=call.actor,
    )
    return ok(agent_view(record), etag(record))


@routes.plain("DELETE", "/agent/{agentId}", "operate", {204: None}, if_match=True)
async def deregister_agent(call: Call) -> Reply:
    """Deregister an agent."""
    await call.engine.lifecycle.deregister(
        call.part("agentId"), seen=if_match(call), namespace=call.namespace, actor=call.actor
    )
    return NO_CONTENT


@routes.body(
    "POST", "/agent/{agentId}/state", "agent:report", StateReport, {202: StateRecord}, lenient=True
)
async def report_state(call: Call, body: StateReport) -> Reply:
    """Report an agent's state. Any word is accepted and kept as it was reported."""
    agent_id = call.part("agentId")
    if body.agent_id != agent_id:
        fault = Fault("/agentId", "The path names another agent")
        raise Invalid("agentId in the body is not the agent of the path.", faults=[fault])
    record = await call.engine.lifecycle.set_state(
        agent_id,
        body.state,
        body.details,
        reported_at=body.timestamp,
        namespace=call.namespace,
        actor=Actor("agent", agent_id),
    )
    return accepted(state_view(record))


@routes.plain("GET", "/agent/{agentId}/state", "session:read", {200: StateRecord}, lenient=True)
async def get_state(call: Call) -> Reply:
    """Read an agent's current state."""
    record = await call.engine.lifecycle.get_state(call.part("agentId"), namespace=call.namespace)
    return ok(state_view(record))


@routes.query("/agent/{agentId}/state/history", "session:read", LongPageQuery, {200: StateHistory})
async def state_history(call: Call, query: LongPageQuery) -> Reply:
    """List an agent's changes of state, oldest first."""
    page = await call.engine.lifecycle.state_history(
        call.part("agentId"), cursor=query.cursor, limit=query.limit, namespace=call.namespace
    )
    states = [state_view(one) for one in page.items]
    return ok(StateHistory(states=states, next_cursor=page.next_cursor))


@routes.body(
    "POST", "/agent/{agentId}/heartbeat", "agent:work", AgentHeartbeat, {202: HeartbeatAnswer}
)
async def heartbeat(call: Call, body: AgentHeartbeat) -> Reply:
    """Say that an instance is alive and extend its leases; answers the attempts it lost."""
    agent_id = call.part("agentId")
    stale = await call.engine.lifecycle.heartbeat(
        agent_id,
        body.instance_id,
        body.attempts,
        namespace=call.namespace,
    )
    return accepted(HeartbeatAnswer(stale=stale))


@routes.body(
    "POST",
    "/agent/{agentId}/drain",
    "operate",
    DrainAgent,
    {202: StateRecord},
    optional=True,
)
async def drain_agent(call: Call, body: DrainAgent) -> Reply:
    """Let an agent take no more work; after the deadline its attempts are released."""
    record = await call.engine.lifecycle.drain(
        call.part("agentId"),
        deadline_seconds=body.deadline_seconds,
        reason=body.reason,
        namespace=call.namespace,
        actor=call.actor,
    )
    return accepted(state_view(record))


@routes.plain("POST", "/agent/{agentId}/activate", "operate", {202: StateRecord})
async def activate_agent(call: Call) -> Reply:
    """Let a drained agent take work again."""
    record = await call.engine.lifecycle.activate(
        call.part("agentId"), namespace=call.namespace, actor=call.actor
    )
    return accepted(state_view(record))


@routes.body(
    "POST",
    "/agent/{agentId}/workflow",
    "session:start",
    TriggerWorkflow,
    {202: TriggerAccepted, 200: TriggerAccepted},
    prefers_wait=True,
    lenient=True,
)
async def trigger_workflow(call: Call, body: TriggerWorkflow) -> Reply:
    """Start a session bound to this agent; with `Prefer: wait=N` answer its result."""
    return await trigger(call, body)


@routes.body("POST", "/agent/{agentId}/claim", "agent:work", ClaimTasks, {200: Claimed})
async def claim_tasks(call: Call, body: ClaimTasks) -> Reply:
    """Take attempts for an instance, waiting up to `waitSeconds` for them."""
    orchestration, agent_id = call.engine.orchestration, call.part("agentId")
    attempts = await orchestration.claim_now(
        agent_id,
        instance_id=body.instance_id,
        max=body.max,
        holding=body.holding,
        namespace=call.namespace,
    )
    if not attempts and body.wait_seconds > 0:
        call.check_room()
        # Only now the two tasks that waiting beside the connection costs.
        waiting = orchestration.claim_later(
            agent_id,
            instance_id=body.instance_id,
            max=body.max,
            wait_seconds=body.wait_seconds,
            namespace=call.namespace,
        )
        attempts = await call.while_present(waiting) or []
    return ok(Claimed(tasks=[attempt_view(one) for one in attempts]))


def given(body: msgspec.Struct) -> dict[str, Any]:
    """The fields of a patch that were sent."""
    values = {name: getattr(body, name) for name in body.__struct_fields__}
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}
