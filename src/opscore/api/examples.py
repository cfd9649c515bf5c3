"""An example of every body and answer, for the OpenAPI document.

Bodies are written out, since what they say must make sense; an answer is put together from its
type, with the usual value for each field's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect as shapes

from opscore.wire import agent, approval, bulk, key, log, session, task
from opscore.wire.session import PlanRequest

TEMPLATE: Mapping[str, Any] = {
    "name": "repo-health",
    "version": "1",
    "input": {"type": "object", "required": ["path"]},
    "steps": {"scan": {"capability": "scan-repo", "with": {"path": "${{ input.path }}"}}},
    "output": "${{ steps.scan.output }}",
}
SESSION, TASK = "ses_01k0q8yzt4m7rnv2c5hx9dabfe", "tsk_01k0q8yzt4m7rnv2c5hx9dabfe-1"
USAGE = {"model": "small", "inputTokens": 812, "outputTokens": 164, "costUsd": 0.002}
START = {"workflow": "repo-health", "input": {"path": "."}, "labels": {"team": "platform"}}

BODIES: Mapping[type, Any] = {
    agent.RegisterAgent: {
        "agentName": "summarizer",
        "version": "1.0",
        "capabilities": ["summarize"],
        "channel": "stream",
        "maxInFlight": 4,
    },
    agent.PatchAgent: {"labels": {"team": "platform"}, "maxInFlight": 8},
    agent.StateReport: {
        "agentId": "agt_01k0q8yzt4m7rnv2c5hx9dabfe",
        "timestamp": "2026-04-01T12:00:00.000001+00:00",
        "state": "active",
        "details": {"message": "reading"},
    },
    agent.AgentHeartbeat: {"instanceId": "summarizer-1", "attempts": [[TASK, 1]]},
    agent.DrainAgent: {"deadlineSeconds": 60, "reason": "a new version"},
    agent.ClaimTasks: {"instanceId": "summarizer-1", "max": 10, "waitSeconds": 0},
    session.TriggerWorkflow: {
        "workflowDefinitionId": "repo-health",
        "initialPayload": {"path": "."},
    },
    session.StartSession: START,
    session.StartSessions: {"sessions": [START]},
    session.PatchSession: {"priority": 80, "metadata": {"ticket": "OPS-17"}},
    session.Reason: {"reason": "not needed any more"},
    PlanRequest: {"template": TEMPLATE, "input": {"path": "."}},
    approval.Approve: {"contentHash": "0" * 64, "comment": "looks right"},
    approval.Reject: {"comment": "not before the release"},
    approval.SendSignal: {"payload": {"paid": True}, "signalId": "payment-4711"},
    task.EnqueueTask: {"capability": "summarize", "input": {"text": "…"}, "priority": 50},
    task.SettleTasks: {
        "settlements": [
            {"taskId": TASK, "attempt": 1, "outcome": "completed", "output": {}, "usage": USAGE}
        ]
    },
    task.PatchTask: {"priority": 90},
    bulk.RetryTasks: {"capability": "summarize", "errorClass": "timeout", "dryRun": True},
    bulk.FallbackTasks: {"status": "available", "capability": "summarize", "dryRun": True},
    bulk.CancelSessions: {"workflow": "repo-health", "label": "team=platform", "dryRun": True},
    task.AttemptBeat: {"attempt": 1},
    task.AttemptProgress: {"attempt": 1, "fraction": 0.5, "message": "reading"},
    task.CompleteAttempt: {"attempt": 1, "output": {"summary": "…"}, "usage": USAGE},
    task.FailAttempt: {"attempt": 1, "error": {"class": "rate_limited", "message": "quota"}},
    log.ShipLogs: {
        "agent": "summarizer",
        "records": [{"message": "the model is slow", "level": "warning", "taskId": TASK}],
    },
    log.ForgetLogs: {"olderThanSeconds": 604800, "dryRun": True},
    key.CreateKey: {"name": "summarizer", "scopes": ["agent:work", "agent:report"]},
    key.RotateKey: {"overlapSeconds": 3600},
}

_USUAL: Mapping[str, Any] = {
    "agentId": "agt_01k0q8yzt4m7rnv2c5hx9dabfe",
    "agentName": "summarizer",
    "attempt": 1,
    "capabilities": ["summarize"],
    "capability": "summarize",
    "channel": "stream",
    "class": "rate_limited",
    "code": "not_found",
    "contentHash": "0" * 64,
    "detail": "",
    "eventId": "evt_4711",
    "instanceId": "summarizer-1",
    "key": "opc_01k0q8yzt4_…",
    "keyId": "key_01k0q8yzt4m7rnv2c5hx9dabfe",
    "name": "repo-health",
    "namespace": "default",
    "nextCursor": None,
    "position": 4711,
    "scopes": ["session:read"],
    "sessionId": SESSION,
    "signalId": "payment-4711",
    "step": "scan",
    "taskId": TASK,
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "version": "1",
    "workflow": "repo-health",
}
_MOMENT = "2026-04-01T12:00:00.000001Z"


def example_of(kind: Any) -> Any:
    """A JSON value that is one of these. Raises `KeyError` for a body without an example."""
    if issubclass(kind, msgspec.Struct) and kind.__struct_config__.forbid_unknown_fields:
        return BODIES[kind]
    return BODIES.get(kind) or _made(shapes.type_info(kind))


def _made(shape: shapes.Type) -> Any:
    match shape:
        case shapes.StructType(fields=fields, tag_field=tag_field, tag=tag):
            made = {one.encode_name: _field(one) for one in fields}
            return made if tag_field is None else {tag_field: tag, **made}
        case shapes.UnionType(types=types):
            return _made(types[0])
        case shapes.Metadata(type=inner):
            return _made(inner)
        case shapes.ListType(item_type=item) | shapes.VarTupleType(item_type=item):
            return [_made(item)]
        case shapes.TupleType(item_types=items):
            return [_made(item) for item in items]
        case _:
            return _plain(shape)


def _plain(shape: shapes.Type) -> Any:
    match shape:
        case shapes.LiteralType(values=values):
            return values[0]
        case shapes.IntType(ge=least) | shapes.FloatType(ge=least):
            return least or 0
        case shapes.BoolType():
            return False
        case shapes.StrType():
            return ""
        case shapes.NoneType():
            return None
        case _:
            return {}


def _field(one: shapes.Field) -> Any:
    name, made = one.encode_name, _made(one.type)
    usual = _MOMENT if name == "at" or name.endswith(("At", "Until")) else _USUAL.get(name, made)
    return usual if isinstance(usual, type(made)) or usual is None else made
