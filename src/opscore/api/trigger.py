"""Starting a session, answering at once or, under `Prefer: wait`, with its outcome."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import Any

import msgspec

from opscore.api.answer import Answer, accepted, ok
from opscore.api.call import Call
from opscore.api.views import document
from opscore.channels.attempts import error_view
from opscore.channels.documents import payload
from opscore.core.errors import Conflict, Fault, Invalid
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
        callback=body.callback.url if body.callback else None,
        trace_id=call.trace_id,
        traceparent=call.traceparent,
        namespace=call.namespace,
        actor=call.actor,
    )
    record = await outcome(call, session_id)
    secret = call.engine.callbacks.secret(session_id) if body.callback else None
    if record is None:
        return accepted(
            TriggerAccepted(
                session_id=session_id,
                workflow_id=workflow,
                message="The workflow was started.",
                callback_secret=secret,
            ),
            secret=secret is not None,
        )
    return ok(
        TriggerAccepted(
            session_id=session_id,
            workflow_id=workflow,
            message=f"The workflow ended: {record.status.value}.",
            callback_secret=secret,
            status=record.status.value,
            output=document(record.output),
            error=error_view(record.error),
        ),
        applied(call),
        secret=secret is not None,
    )


async def _definition(call: Call, body: TriggerWorkflow) -> tuple[str, str | None]:
    if body.workflow_definition is not None:
        call.need("operate")  # a newer version is what everybody starts from then on
        return await _stored(call, body.workflow_definition, body.workflow_definition_id)
    if body.workflow_definition_id is None:
        fault = Fault("/workflowDefinitionId", "Missing", "Or send a workflowDefinition.")
        raise Invalid(
            "Neither workflowDefinitionId nor workflowDefinition is given.", faults=[fault]
        )
    return body.workflow_definition_id, None


async def _stored(
    call: Call, definition: dict[str, Any], name_hint: str | None
) -> tuple[str, str | None]:
    """Name and version of an inline definition.

    AgentKit repeats its ids: the same content is the version that is there, other content becomes a
    version of its own, named after what it says.
    """
    create = partial(
        call.engine.orchestration.create_workflow,
        name_hint=name_hint or "template",
        namespace=call.namespace,
        actor=call.actor,
    )
    try:
        record = await create(definition)
    except Conflict as conflict:
        if conflict.code != "version_exists":
            raise
        digest = sha256(msgspec.json.encode(definition, order="sorted")).hexdigest()[:12]
        version = f"{definition.get('version', '1')}-{digest}"
        record = await create({**definition, "version": version})
    return record.name, record.version


def _object(raw: msgspec.Raw, pointer: str) -> msgspec.Raw:
    # AgentKit sends null for "nothing".
    if bytes(raw) == b"null":
        return EMPTY_OBJECT
    return payload(raw, pointer)
