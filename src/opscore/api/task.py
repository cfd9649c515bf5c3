"""Routes of tasks: enqueueing, settling, reading, control by hand."""

from __future__ import annotations

from opscore.api.answer import Answer, accepted, ok
from opscore.api.call import Call
from opscore.api.etags import etag, if_match
from opscore.api.route import Reply, Routes
from opscore.api.trigger import applied, outcome
from opscore.api.views import micros_of, task_view
from opscore.api.why import why_view
from opscore.channels.attempts import error_of, reports_of, usage_of, verdict_view
from opscore.channels.documents import payload
from opscore.core.errors import Fault, Impossible, Invalid, NotFound, StaleAttempt
from opscore.engine.records import SettlementReport
from opscore.engine.tools import TaskRequest
from opscore.wire.queries import ListTasks
from opscore.wire.session import Reason
from opscore.wire.task import (
    AttemptBeat,
    AttemptProgress,
    CompleteAttempt,
    EnqueueTask,
    FailAttempt,
    PatchTask,
    SettleTasks,
    TaskAccepted,
    TaskPage,
    TaskView,
    Verdict,
    Verdicts,
)
from opscore.wire.why import WhyView

routes = Routes("task")


@routes.body(
    "POST",
    "/task",
    "session:start",
    EnqueueTask,
    {202: TaskAccepted, 200: TaskView},
    prefers_wait=True,
)
async def enqueue_task(call: Call, body: EnqueueTask) -> Reply:
    """Enqueue one task; with `Prefer: wait=N` answer it when it has ended."""
    task_id, session_id = await call.engine.orchestration.enqueue_task(
        _request(body, call), namespace=call.namespace, actor=call.actor
    )
    if await outcome(call, session_id) is not None:
        record = await call.engine.orchestration.get_task(task_id, namespace=call.namespace)
        return ok(task_view(record), applied(call))
    return accepted(TaskAccepted(task_id=task_id, session_id=session_id))


def _request(body: EnqueueTask, call: Call) -> TaskRequest:
    if (body.capability is None) == (body.agent is None):
        fault = Fault("/capability", "Give exactly one of `capability` and `agent`")
        raise Invalid("A task is for a capability or for one agent.", faults=[fault])
    if body.delay_seconds is not None and body.due_at is not None:
        fault = Fault("/dueAt", "Give `delaySeconds` or `dueAt`, not both")
        raise Impossible("delaySeconds and dueAt contradict each other.", faults=[fault])
    return TaskRequest(
        capability=body.capability,
        agent=body.agent,
        input=payload(body.input, "/input"),
        context=payload(body.context, "/context"),
        priority=body.priority,
        delay_seconds=body.delay_seconds,
        due_at=micros_of(body.due_at, "/dueAt"),
        retry=body.retry,
        timeout=body.timeout,
        labels=body.labels,
        trace_id=call.trace_id,
        traceparent=call.traceparent,
    )


@routes.query("/task", "session:read", ListTasks, {200: TaskPage})
async def list_tasks(call: Call, query: ListTasks) -> Reply:
    """List tasks, dead letters included."""
    page = await call.engine.orchestration.list_tasks(
        status=query.status,
        agent=query.agent,
        capability=query.capability,
        session=query.session,
        workflow=query.workflow,
        error_class=query.error_class,
        dead=query.dead,
        cursor=query.cursor,
        limit=query.limit,
        namespace=call.namespace,
    )
    tasks = [task_view(one) for one in page.items]
    return ok(TaskPage(tasks=tasks, next_cursor=page.next_cursor))


@routes.body("POST", "/task/settle", "agent:work", SettleTasks, {200: Verdicts})
async def settle_tasks(call: Call, body: SettleTasks) -> Reply:
    """Settle a batch of attempts; each gets its own verdict, after the commit."""
    records = await call.engine.orchestration.settle(
        reports_of(body.settlements), agent_id=call.acting_as, namespace=call.namespace
    )
    return ok(Verdicts(verdicts=[verdict_view(one) for one in records]))


@routes.plain("GET", "/task/{taskId}", "session:read", {200: TaskView})
async def get_task(call: Call) -> Reply:
    """Read a task with every attempt."""
    record = await call.engine.orchestration.get_task(call.part("taskId"), namespace=call.namespace)
    return ok(task_view(record), etag(record))


@routes.plain("GET", "/task/{taskId}/why", "session:read", {200: WhyView})
async def task_why(call: Call) -> Reply:
    """Say what a task waits for, since when, and its position in the queue."""
    task_id = call.part("taskId")
    return ok(why_view(await call.engine.debugging.why_task(task_id, namespace=call.namespace)))


@routes.body("PATCH", "/task/{taskId}", "operate", PatchTask, {200: TaskView}, if_match=True)
async def patch_task(call: Call, body: PatchTask) -> Reply:
    """Change a task's priority."""
    record = await call.engine.orchestration.patch_task(
        call.part("taskId"),
        priority=body.priority,
        seen=if_match(call),
        namespace=call.namespace,
        actor=call.actor,
    )
    return ok(task_view(record), etag(record))


async def _task(call: Call) -> TaskView:
    record = await call.engine.orchestration.get_task(call.part("taskId"), namespace=call.namespace)
    return task_view(record)


@routes.body("POST", "/task/{taskId}/cancel", "operate", Reason, {202: TaskView}, optional=True)
async def cancel_task(call: Call, body: Reason) -> Reply:
    """Cancel a task; its running attempt is told and fenced."""
    await call.engine.orchestration.cancel_task(
        call.part("taskId"), body.reason, namespace=call.namespace, actor=call.actor
    )
    return accepted(await _task(call))


@routes.plain("POST", "/task/{taskId}/retry", "operate", {202: TaskView})
async def retry_task(call: Call) -> Reply:
    """Try a failed task again."""
    await call.engine.orchestration.retry_task(
        call.part("taskId"), namespace=call.namespace, actor=call.actor
    )
    return accepted(await _task(call))


@routes.plain("POST", "/task/{taskId}/fallback", "operate", {202: TaskView})
async def fallback_task(call: Call) -> Reply:
    """Give a task up for the next member of its fallback chain."""
    await call.engine.orchestration.fallback_task(
        call.part("taskId"), namespace=call.namespace, actor=call.actor
    )
    return accepted(await _task(call))


@routes.body("POST", "/task/{taskId}/heartbeat", "agent:work", AttemptBeat, {200: Verdict})
async def heartbeat_task(call: Call, body: AttemptBeat) -> Reply:
    """Extend the lease of one attempt."""
    await call.engine.orchestration.heartbeat_task(
        call.part("taskId"), body.attempt, agent_id=call.acting_as, namespace=call.namespace
    )
    return _done(call, body.attempt)


@routes.body("POST", "/task/{taskId}/progress", "agent:work", AttemptProgress, {200: Verdict})
async def report_progress(call: Call, body: AttemptProgress) -> Reply:
    """Tell how far an attempt is."""
    await call.engine.orchestration.progress(
        call.part("taskId"),
        body.attempt,
        body.fraction,
        body.message,
        agent_id=call.acting_as,
        namespace=call.namespace,
    )
    return _done(call, body.attempt)


def _done(call: Call, attempt: int) -> Answer:
    return ok(Verdict(task_id=call.part("taskId"), attempt=attempt, verdict="recorded"))


@routes.body("POST", "/task/{taskId}/complete", "agent:work", CompleteAttempt, {200: Verdict})
async def complete_attempt(call: Call, body: CompleteAttempt) -> Reply:
    """Settle one attempt as completed."""
    report = SettlementReport(
        task_id=call.part("taskId"),
        attempt=body.attempt,
        outcome="completed",
        output=payload(body.output, "/output"),
        usage=usage_of(body.usage),
    )
    return await _settle_one(call, report)


@routes.body("POST", "/task/{taskId}/fail", "agent:work", FailAttempt, {200: Verdict})
async def fail_attempt(call: Call, body: FailAttempt) -> Reply:
    """Settle one attempt as failed."""
    report = SettlementReport(
        task_id=call.part("taskId"),
        attempt=body.attempt,
        outcome="failed",
        error=error_of(body.error),
        usage=usage_of(body.usage),
    )
    return await _settle_one(call, report)


async def _settle_one(call: Call, report: SettlementReport) -> Answer:
    orchestration = call.engine.orchestration
    (record,) = await orchestration.settle(
        [report], agent_id=call.acting_as, namespace=call.namespace
    )
    match record.verdict:
        case "recorded":
            return ok(verdict_view(record))
        case "stale_attempt":
            raise StaleAttempt(record.detail or f"Attempt {record.attempt} is not the current one.")
        case "unknown_task":
            raise NotFound(record.detail or f"There is no task {record.task_id}.")
        case _:
            raise Invalid(record.detail or "The settlement is not valid.")
