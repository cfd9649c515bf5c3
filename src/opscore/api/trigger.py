"""Starting a session, answering at once or, under `Prefer: wait`, with its outcome."""

from __future__ import annotations

import msgspec

from opscore.api.answer import Answer, accepted, ok
from opscore.api.call import Call
from opscore.api.views import document
from opscore.channels.attempts import error_view
from opscore.channels.documents import payload
from opscore.core.errors import Fault, Invalid
from opscore.core.types import SESSION_ENDED
from opscore.engine.records import SessionRecord
from opscore.wire.base import EMPTY_OBJECT
from opscore.wire.session import TriggerAccepted, TriggerWorkflow


async def outcome(call: Call, session_id: str) -> SessionRecord | None:
    """Under `Prefer: wait` the session when it ended in time; else None."""
    seconds = call.wait_seconds
    if seconds is None:
        return None
    waiting = call.engine.orchestration.wait(session_id, seconds, namespace=call.namespace)
    record = await call.while_present(waiting)
    return record if record is not None and record.status in SESSION_ENDED else None


def applied(call: Call) -> tuple[bytes, bytes]:
    """The header that tells that the preference was honoured."""
    return (b"preference-applied", f"wait={call.wait_seconds:g}".encode())


async def trigger(call: Call, body: TriggerWorkflow) -> Answer:
    """Start a session bound to the agent of the path, as AgentKit asks for it."""
    workflow, version = await _definition(call, body)
    session_id = await call.engine.orchestration.start(
        workflow,
        version=version,
        input=_object(body.initial_payload, "/initialPayload"),
        context=_object(body.context, "/context"),
        agent_id=call.part("agentId"),
        trace_id=call.trace_id,
        namespace=call.namespace,
        actor=call.actor,
    )
    record = await outcome(call, session_id)
    if record is None:
        return accepted(
            TriggerAccepted(
                session_id=session_id,
                workflow_id=workflow,
                message="The workflow was started.",
            )
        )
    return ok(
        TriggerAccepted(
            session_id=session_id,
            workflow_id=workflow,
            message=f"The workflow ended: {record.status.value}.",
            status=record.status.value,
            output=document(record.output),
            error=error_view(record.error),
        ),
        applied(call),
    )


async def _definition(call: Call, body: TriggerWorkflow) -> tuple[str, str | None]:
    if body.workflow_definition is not None:
        record = await call.engine.orchestration.create_workflow(
            body.workflow_definition,
            name_hint=body.workflow_definition_id or "template",
            namespace=call.namespace,
        )
        return record.name, record.version
    if body.workflow_definition_id is None:
        fault = Fault("/workflowDefinitionId", "Missing", "Or send a workflowDefinition.")
        raise Invalid(
            "Neither workflowDefinitionId nor workflowDefinition is given.", faults=[fault]
        )
    return body.workflow_definition_id, None


def _object(raw: msgspec.Raw, pointer: str) -> msgspec.Raw:
    # AgentKit sends null for "nothing".
    if bytes(raw) == b"null":
        return EMPTY_OBJECT
    return payload(raw, pointer)
