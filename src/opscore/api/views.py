"""Records of the engine as the wire shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from opscore.api.exchanges import attempt_views
from opscore.api.traces import spent_view
from opscore.channels.attempts import error_view, moment, moment_or_none
from opscore.core.durations import parse_duration, parse_moment
from opscore.core.errors import Fault, Invalid
from opscore.core.types import Json, Micros
from opscore.engine import records
from opscore.engine.callbacks import CallbackRow
from opscore.wire import agent, session, task
from opscore.wire.base import NULL

# The first hundred task ids of a step: a fan-out has thousands, which `GET /task` pages.
TASKS_SHOWN = 100


def agent_view(record: records.AgentRecord) -> agent.AgentView:
    """An agent with its instances."""
    return agent.AgentView(
        agent_id=record.agent_id,
        agent_name=record.agent_name,
        namespace=record.namespace,
        version=record.version,
        capabilities=list(record.capabilities),
        channel=record.channel,
        contact_endpoint=record.contact_endpoint,
        max_in_flight=record.max_in_flight,
        labels=dict(record.labels),
        metadata=dict(record.metadata),
        schemas=dict(record.schemas),
        state=record.state.value,
        reported_state=record.reported_state,
        details=_optional(record.details),
        online=record.online,
        in_flight=sum(one.in_flight for one in record.instances),
        instances=[_instance(one) for one in record.instances],
        last_error=record.last_error,
        created_at=moment(record.created_at),
        updated_at=moment(record.updated_at),
        registered_at=moment(record.registered_at),
    )


def _instance(record: records.InstanceRecord) -> agent.InstanceView:
    return agent.InstanceView(
        instance_id=record.instance_id,
        online=record.online,
        max_in_flight=record.max_in_flight,
        in_flight=record.in_flight,
        connected_at=moment_or_none(record.connected_at),
        last_seen_at=moment_or_none(record.last_seen_at),
    )


def state_view(record: records.StateRecord) -> agent.StateRecord:
    """An agent's state at one moment."""
    return agent.StateRecord(
        agent_id=record.agent_id,
        state=record.state.value,
        reported_state=record.reported_state,
        at=moment(record.at),
        details=_optional(record.details),
        previous=None if record.previous is None else record.previous.value,
        actor=record.actor,
        reason=record.reason,
        reported_at=record.reported_at,
    )


def workflow_view(record: records.TemplateRecord) -> session.WorkflowView:
    """A template version with its definition."""
    return session.WorkflowView(
        name=record.name,
        version=record.version,
        description=record.description,
        digest=record.digest,
        created_at=moment(record.created_at),
        definition=msgspec.Raw(record.source),
    )


def workflow_summary(record: records.TemplateRecord) -> session.WorkflowSummary:
    """A template version in a list."""
    return session.WorkflowSummary(
        name=record.name,
        version=record.version,
        description=record.description,
        created_at=moment(record.created_at),
    )


def session_view(
    record: records.SessionRecord, callback: CallbackRow | None = None
) -> session.SessionView:
    """A session in full, with what became of its callback where that was asked for."""
    return session.SessionView(
        **_summary(record),
        waiting_for=record.waiting_for,
        cancelling=record.cancelling,
        input=msgspec.Raw(record.input),
        context=msgspec.Raw(record.context),
        output=document(record.output),
        error=error_view(record.error),
        parent=record.parent,
        steps={name: _step(step) for name, step in record.steps.items()},
        callback=None if callback is None else _callback(callback),
        metadata=msgspec.Raw(record.metadata),
        usage=msgspec.UNSET if record.spent is None else spent_view(record.spent),
    )


def _callback(row: CallbackRow) -> session.CallbackView:
    return session.CallbackView(
        url=row.url,
        status=row.status,
        tries=row.tries,
        next_try_at=moment_or_none(row.due),
        error=row.error,
    )


def session_summary(record: records.SessionSummary) -> session.SessionSummary:
    """A session in a list."""
    return session.SessionSummary(**_summary(record))


def _summary(record: records.SessionSummary) -> dict[str, Any]:
    return {
        "session_id": record.session_id,
        "workflow": record.workflow,
        "version": record.version,
        "status": record.status.value,
        "priority": record.priority,
        "labels": dict(record.labels),
        "agent_id": record.agent_id,
        "created_at": moment(record.created_at),
        "updated_at": moment(record.updated_at),
        "finished_at": moment_or_none(record.finished_at),
        "trace_id": record.trace_id,
    }


def _step(record: records.StepRecord) -> session.StepView:
    return session.StepView(
        status=record.status.value,
        tasks=list(record.tasks[:TASKS_SHOWN]),
        total=record.total,
        completed=record.completed,
        failed=record.failed,
        running=record.running,
        started_at=moment_or_none(record.started_at),
        finished_at=moment_or_none(record.finished_at),
        error=error_view(record.error),
        waiting_for=_wait(record.waiting_for),
        labels=dict(record.labels),
        description=record.description,
        iteration=record.iteration,
        iterations=record.iterations,
        children=list(record.children),
    )


def _wait(record: records.WaitRecord | None) -> session.StepWait | None:
    if record is None:
        return None
    return session.StepWait(kind=record.kind, until=moment_or_none(record.until), name=record.name)


def event_view(record: records.EventRecord) -> session.EventView:
    """One fact of a journal."""
    return session.EventView(
        event_id=f"evt_{record.position}",
        position=record.position,
        session_id=record.session_id,
        agent_id=record.agent_id,
        seq=record.seq,
        at=moment(record.at),
        type=record.type,
        version=record.version,
        data=msgspec.Raw(record.data),
    )


def task_view(record: records.TaskRecord) -> task.TaskView:
    """A task with the attempts that the record carries."""
    return task.TaskView(
        task_id=record.task_id,
        session_id=record.session_id,
        step=record.step,
        index=record.index,
        member=record.member,
        capability=record.capability,
        agent=record.agent,
        status=record.status.value,
        attempt=record.attempt,
        failures=record.failures,
        priority=record.priority,
        input=msgspec.Raw(record.input),
        output=document(record.output),
        error=error_view(record.error),
        due_at=moment_or_none(record.due_at),
        created_at=moment(record.created_at),
        updated_at=moment(record.updated_at),
        finished_at=moment_or_none(record.finished_at),
        agent_id=record.agent_id,
        instance_id=record.instance_id,
        progress=record.progress,
        progress_message=record.progress_message,
        attempt_history=attempt_views(record.attempts),
    )


def micros_of(text: str | None, pointer: str) -> Micros | None:
    """Microseconds from RFC 3339 with an offset. Raises `Invalid`."""
    if text is None:
        return None
    at = parse_moment(text)
    if at is None:
        fault = Fault(pointer, "Expected an RFC 3339 time", "For example 2026-04-01T12:00:00Z.")
        raise Invalid(f"{text!r} is not an RFC 3339 time with an offset.", faults=[fault])
    return at


def since_of(text: str, now: Micros, pointer: str) -> Micros:
    """A moment, or a length of time before `now`, in microseconds. Raises `Invalid`."""
    ago = parse_duration(text)
    if ago is not None:
        return now - ago
    at = parse_moment(text)
    if at is None:
        fault = Fault(pointer, "Expected a time", "For example 1h, or 2026-04-01T12:00:00Z.")
        raise Invalid(f"{text!r} is neither a duration nor an RFC 3339 time.", faults=[fault])
    return at


def document(encoded: Json | None) -> msgspec.Raw:
    """An encoded document on the wire; what is not there is null."""
    return NULL if encoded is None else msgspec.Raw(encoded)


def _optional(mapping: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if mapping is None else dict(mapping)
