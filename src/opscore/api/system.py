"""Routes of the server itself: whether it lives, whether it is ready, what it speaks."""

from __future__ import annotations

import msgspec

from opscore.api.answer import Answer, ok
from opscore.api.call import Call
from opscore.api.route import BASE, Reply, Routes
from opscore.api.schemas import SCHEMAS, published
from opscore.channels.attempts import moment_or_none
from opscore.core.errors import NotFound
from opscore.wire.queries import (
    AuditState,
    ExportState,
    Health,
    LogStoreState,
    PartState,
    Readiness,
)

routes = Routes("system", base="")
_encode = msgspec.json.Encoder().encode


@routes.plain("GET", "/health", "public", {200: Health}, lenient=True)
async def health(_call: Call) -> Reply:
    """Say that the process answers."""
    return ok(Health())


@routes.plain("GET", "/ready", "public", {200: Readiness, 503: Readiness}, lenient=True)
async def ready(call: Call) -> Reply:
    """Say whether work is taken, and if not, why."""
    reasons = list(call.engine.ready())
    if call.context.stopping:
        reasons.append("the server is stopping")
    answer = Readiness(ready=not reasons, reasons=reasons)
    if call.context.agentkit is not None:
        answer.agentkit = call.context.agentkit.view()
    if (state := call.engine.audit.state) is not None:
        answer.audit = AuditState(checkpoint_at=moment_or_none(state.at), problem=state.problem)
    logs = call.engine.logs.state
    answer.logs = LogStoreState(problem=logs.problem, dropped=logs.dropped)
    if (exporting := call.engine.exporting) is not None:
        told, endpoint = exporting.state, exporting.target.endpoint
        answer.export = ExportState(
            endpoint=endpoint, problem=told.problem, waiting=told.waiting, dropped=told.dropped
        )
    callbacks, hooks = call.engine.callbacks.state, call.engine.hooks.state
    answer.callbacks = PartState(problem=callbacks.problem, waiting=callbacks.waiting)
    answer.hooks = PartState(problem=hooks.problem, waiting=hooks.waiting)
    body = _encode(answer)
    return Answer(503 if reasons else 200, body)


@routes.plain("GET", f"{BASE}/schema/{{name}}", "public", {200: dict})
async def schema(call: Call) -> Reply:
    """Read a published JSON Schema, such as `session.json`."""
    name = call.part("name").removesuffix(".json")
    if name not in SCHEMAS or not call.part("name").endswith(".json"):
        known = ", ".join(f"{one}.json" for one in SCHEMAS)
        raise NotFound(f"There is no such schema. There are: {known}.")
    return Answer(200, _encode(published(name)), b"application/schema+json")
