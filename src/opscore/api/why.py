"""Reasons of the core as the wire shows them."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from opscore.channels.attempts import moment, moment_or_none
from opscore.core.template import Target
from opscore.core.why import InFlight, Reason, Taker
from opscore.engine.explanations import Explained, WhyRecord
from opscore.wire.why import AgentLoad, AttemptInFlight, ReasonView, WhyView

T = TypeVar("T")


def why_view(record: WhyRecord) -> WhyView:
    """What a session or a task waits for."""
    return WhyView(
        session_id=record.session_id,
        status=record.status.value,
        at=moment(record.at),
        reasons=[_reason(each) for each in record.reasons],
        task_id=record.task_id,
        task_status=None if record.task_status is None else record.task_status.value,
    )


def _reason(explained: Explained) -> ReasonView:
    """The fields that a reason has, under the wire's names."""
    reason = explained.reason
    target = _of(reason, "target", Target())
    takers: tuple[Taker, ...] = _of(reason, "takers", ())
    attempts: tuple[InFlight, ...] = _of(reason, "attempts", ())
    return ReasonView(
        kind=reason.KIND,
        message=explained.message,
        since=moment(reason.since),
        until=moment_or_none(_of(reason, "until", None)),
        step=_of(reason, "step", None),
        tasks=list(_of(reason, "tasks", ())),
        count=_of(reason, "count", 0),
        capability=target.capability,
        agent=target.agent,
        match=None if target.match is None else msgspec.json.decode(target.match),
        capable=_of(reason, "capable", 0),
        agents=[_load(taker) for taker in takers],
        attempts=[_in_flight(attempt) for attempt in attempts],
        position=_of(reason, "position", 0),
        by=_of(reason, "by", None),
        name=_of(reason, "name", None),
        approvers=list(_of(reason, "approvers", ())),
        votes=_of(reason, "votes", 0),
        quorum=_of(reason, "quorum", 0),
        key=_of(reason, "key", None),
        limit=_of(reason, "limit", 0),
        in_use=_of(reason, "in_use", 0),
        holders=list(_of(reason, "holders", ())),
        sessions=list(_of(reason, "sessions", ())),
    )


def _of(reason: Reason, field: str, default: T) -> T | Any:
    return getattr(reason, field, default)


def _load(taker: Taker) -> AgentLoad:
    return AgentLoad(
        agent_id=taker.agent_id,
        agent_name=taker.name,
        availability=taker.availability.value,
        in_flight=taker.in_flight,
        slots=taker.slots,
        busy_with=list(taker.busy_with),
    )


def _in_flight(attempt: InFlight) -> AttemptInFlight:
    return AttemptInFlight(
        task_id=attempt.task_id,
        attempt=attempt.attempt,
        agent_id=attempt.agent_id,
        instance_id=attempt.instance_id,
        since=moment(attempt.since),
    )
