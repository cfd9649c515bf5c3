"""Answers as the contract's own types write them."""

from __future__ import annotations

from typing import Any

import msgspec

from opscore.wire.agent import AgentPage, AgentView, InstanceView, StateRecord
from opscore.wire.approval import ApprovalView, Vote
from opscore.wire.session import (
    EventView,
    History,
    SessionAccepted,
    SessionSummary,
    SessionView,
    StepView,
)
from opscore.wire.task import AttemptView, TaskError, TaskView
from opscore.wire.trace import (
    Bottleneck,
    CriticalPathView,
    SpanView,
    SpentView,
    TraceUsage,
    TraceView,
    UsageView,
)
from opscore.wire.why import AgentLoad, AttemptInFlight, ReasonView, WhyView

AT = "2026-04-01T12:00:00.000001Z"


def agent(name: str = "summarizer", agent_id: str = "agt_1", **changes: Any) -> AgentView:
    view = AgentView(
        agent_id=agent_id,
        agent_name=name,
        namespace="default",
        version="1.0",
        capabilities=["summarize"],
        channel="stream",
        contact_endpoint=None,
        max_in_flight=4,
        labels={},
        metadata={},
        schemas={},
        state="idle",
        reported_state="idle",
        details=None,
        online=True,
        in_flight=1,
        instances=[InstanceView(instance_id="i1", online=True, max_in_flight=4, in_flight=1)],
        last_error=None,
        created_at=AT,
        updated_at=AT,
        registered_at=AT,
    )
    return msgspec.structs.replace(view, **changes)


def approval(**changes: Any) -> ApprovalView:
    view = ApprovalView(
        approval_id="apr_1-a",
        session_id="ses_1",
        step="a",
        workflow="ship",
        version="1",
        status="pending",
        title="Ship?",
        details=msgspec.Raw(b'{"n":1}'),
        content_hash="0" * 64,
        approvers=["ada", "bob"],
        quorum=2,
        votes=[Vote(by="ada", comment="ok")],
        edited=False,
        escalated=False,
        reason="",
        requested_at=AT,
        due_at=None,
        decided_at=None,
    )
    return msgspec.structs.replace(view, **changes)


def agents(*views: AgentView, cursor: str | None = None) -> AgentPage:
    return AgentPage(agents=list(views), next_cursor=cursor)


def state(word: Any = "draining") -> StateRecord:
    return StateRecord(agent_id="agt_1", state=word, reported_state=None, at=AT)


def step(status: str, total: int = 1, completed: int = 0, **changes: Any) -> StepView:
    view = StepView(status=status, tasks=[], total=total, completed=completed, failed=0, running=0)
    return msgspec.structs.replace(view, **changes)


def session(status: Any = "completed", **changes: Any) -> SessionView:
    view = SessionView(
        session_id="ses_1",
        workflow="greet",
        version="1",
        status=status,
        waiting_for=None,
        cancelling=False,
        input=msgspec.Raw(b'{"name":"Ada"}'),
        context=msgspec.Raw(b"{}"),
        output=msgspec.Raw(b'{"text":"hello"}' if status == "completed" else b"null"),
        error=None,
        steps={},
        priority=50,
        labels={},
        agent_id=None,
        created_at=AT,
        updated_at=AT,
        finished_at=None,
        trace_id="t",
    )
    return msgspec.structs.replace(view, **changes)


def summary(session_id: str = "ses_1", **changes: Any) -> SessionSummary:
    view = SessionSummary(
        session_id=session_id,
        workflow="greet",
        version="1",
        status="processing",
        priority=50,
        labels={},
        agent_id=None,
        created_at=AT,
        updated_at=AT,
        finished_at=None,
        trace_id="t",
    )
    return msgspec.structs.replace(view, **changes)


def accepted() -> SessionAccepted:
    return SessionAccepted(session_id="ses_1")


def history(first: int, last: int, cursor: str | None = None) -> History:
    return History(
        events=[
            EventView(
                event_id=f"evt_{number}",
                position=number,
                session_id="ses_1",
                agent_id=None,
                seq=number,
                at=AT,
                type="task.completed",
                version=1,
                data=msgspec.Raw(b"{}"),
            )
            for number in range(first, last + 1)
        ],
        next_cursor=cursor,
    )


def task(**changes: Any) -> TaskView:
    view = TaskView(
        task_id="tsk_1-1",
        session_id="ses_1",
        step="greet",
        index=3,
        member=0,
        capability="greet",
        agent=None,
        status="failed",
        attempt=2,
        failures=2,
        priority=50,
        input=msgspec.Raw(b'{"name":"Ada"}'),
        output=msgspec.Raw(b"null"),
        error=TaskError(error_class="fatal", message="no such name"),
        due_at=None,
        created_at=AT,
        updated_at=AT,
        finished_at=AT,
        agent_id="agt_1",
        instance_id="i1",
        attempt_history=[
            AttemptView(
                attempt=number,
                agent_id=f"agt_{number}",
                instance_id="i1",
                started_at=AT,
                ended_at=AT,
                outcome="failed",
                error=TaskError(error_class="timeout", message=f"slow {number}"),
            )
            for number in (1, 2)
        ],
    )
    return msgspec.structs.replace(view, **changes)


def as_json(answer: object) -> Any:
    """As a client reads it."""
    return msgspec.json.decode(msgspec.json.encode(answer))


def why(**changes: Any) -> WhyView:
    busy = AgentLoad(
        agent_id="agt_1",
        agent_name="alpha",
        availability="busy",
        in_flight=5,
        slots=5,
        busy_with=["tsk_7-1", "tsk_8-1"],
    )
    running = AttemptInFlight(
        task_id="tsk_1-2", attempt=1, agent_id="agt_2", instance_id="i2", since=AT
    )
    reasons = [
        ReasonView(
            kind="nobody_free", message="1 busy", since=AT, step="a", agents=[busy], position=3
        ),
        ReasonView(kind="running", message="it runs", since=AT, step="b", attempts=[running]),
    ]
    view = WhyView(session_id="ses_1", status="processing", at=AT, reasons=reasons)
    return msgspec.structs.replace(view, **changes)


def span(name: str, kind: Any, start: float, seconds: float, **changes: Any) -> SpanView:
    """A span that begins so many seconds after twelve."""
    view = SpanView(
        span_id=name,
        parent_id=None,
        name=name,
        kind=kind,
        session_id="ses_1",
        start_at=f"2026-04-01T12:00:{start:09.6f}Z",
        end_at=f"2026-04-01T12:00:{start + seconds:09.6f}Z",
        seconds=seconds,
        status="ok",
        critical=True,
        attributes={},
    )
    return msgspec.structs.replace(view, **changes)


def usage(cost: float) -> UsageView:
    return UsageView(attempts=1, input_tokens=10, output_tokens=2, cost_usd=cost, models=["small"])


def trace(**changes: Any) -> TraceView:
    """A step whose first attempt failed and whose second goes on."""
    first: dict[str, Any] = {"opscore.task.id": "tsk_1", "opscore.task.attempt": 1}
    failed = {**first, "error.type": "timeout"}
    second = {**first, "opscore.task.attempt": 2}
    spent = SpentView(total=usage(0.5), wasted=usage(0.25))
    view = TraceView(
        session_id="ses_1",
        trace_id="ab" * 16,
        workflow="w",
        version="1",
        status="processing",
        at="2026-04-01T12:00:10Z",
        truncated=False,
        conventions="1.41.0",
        spans=[
            span("invoke_workflow w", "workflow", 0, 10, end_at=None),
            span("step a", "step", 0, 10, parent_id="invoke_workflow w", end_at=None),
            span("q1", "queue", 0, 2, parent_id="step a", attributes=first),
            span("by x", "work", 2, 3, parent_id="step a", attributes=failed, status="error"),
            span("d1", "delay", 5, 1, parent_id="step a", attributes=first),
            span("q2", "queue", 6, 0, parent_id="step a", attributes=first),
            span("by y", "work", 6, 4, parent_id="step a", attributes=second, end_at=None),
        ],
        critical_path=CriticalPathView(
            total_seconds=10,
            queue_seconds=2,
            work_seconds=7,
            delay_seconds=1,
            wait_seconds=0,
            approval_seconds=0,
            rest_seconds=0,
            bottleneck=Bottleneck(
                kind="work", session_id="ses_1", step="a", target="sum", seconds=7, share=0.7
            ),
        ),
        usage=TraceUsage(total=usage(0.5), wasted=usage(0.25), steps={"a": spent}),
    )
    return msgspec.structs.replace(view, **changes)
