"""The spans of work: tasks, child sessions, compensation."""

from __future__ import annotations

from opscore.core import events as ev
from opscore.core.child_events import ChildCreated, ChildEnded, ChildReleased
from opscore.core.step_events import CompensationFailed, StepCompensated, StepCompensating
from opscore.core.types import COMPENSATION, Json
from opscore.debugging.spans import Kind, Span, Status, Value, attempt_span_id, span_id_of
from opscore.debugging.step_spans import StepSpans
from opscore.debugging.usage import read_usage


class TaskSpans(StepSpans):
    """Queues, attempts, delays; children; what is undone."""

    def task_created(self, e: ev.TaskCreated) -> None:
        """It waits in a queue, or first for its time."""
        self._created[e.task_id] = e
        if e.due is None:
            self._turn(e.task_id, "queue")
        else:
            self._turn(e.task_id, "delay")

    def task_available(self, e: ev.TaskAvailable) -> None:
        """Its time has come."""
        self._leave(e.task_id, "unset")
        self._turn(e.task_id, "queue")

    def task_claimed(self, e: ev.TaskClaimed) -> None:
        """Queue time ends, work time begins."""
        self._leave(e.task_id, "unset")
        made = self._created[e.task_id]
        name = self._agent_name(e.agent_id) or made.agent
        span = self._of_task(e.task_id, f"invoke_agent {name or e.agent_id}", "work")
        span.span_id = attempt_span_id(self.trace_id, e.task_id, e.attempt)
        span.attributes |= {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.id": e.agent_id,
            "gen_ai.conversation.id": self._session_id,
            "opscore.task.attempt": e.attempt,
            "opscore.instance.id": e.instance_id,
        }
        if name is not None:
            span.attributes["gen_ai.agent.name"] = name

    def task_completed(self, e: ev.TaskCompleted) -> None:
        """An attempt's good end."""
        self._leave(e.task_id, "ok", usage=e.usage)
        if e.ends_step:
            self._end_step(self._created[e.task_id].step, "ok")

    def task_retried(self, e: ev.TaskRetried) -> None:
        """An attempt failed; the next one waits for its time."""
        self._answered(self._leave(e.task_id, "error", e.error_class, e.message, e.usage), e)
        self._turn(e.task_id, "delay")

    def task_released(self, e: ev.TaskReleased) -> None:
        """An attempt was given back; back to the queue."""
        span = self._leave(e.task_id, "unset")
        span.attributes["opscore.released"] = e.reason
        self._turn(e.task_id, "queue")

    def task_failed(self, e: ev.TaskFailed) -> None:
        """It is given up: by its last attempt, or because nobody took it."""
        self._answered(self._leave(e.task_id, "error", e.error_class, e.message, e.usage), e)

    def _answered(self, span: Span, e: ev.TaskRetried | ev.TaskFailed) -> None:
        if e.http_status is not None:
            span.attributes["http.response.status_code"] = e.http_status

    def task_cancelled(self, e: ev.TaskCancelled) -> None:
        """It will not go on."""
        self._leave(e.task_id, "unset").attributes["opscore.cancelled"] = e.reason

    def _turn(self, task_id: str, kind: Kind) -> None:
        """The task's next stretch before an attempt."""
        turn = self._turns[task_id] = self._turns.get(task_id, 0) + 1
        made = self._created[task_id]
        span = self._of_task(task_id, f"{kind} {made.capability or made.agent}", kind)
        span.span_id = span_id_of(self.trace_id, task_id, kind, turn)

    def _of_task(self, task_id: str, name: str, kind: Kind) -> Span:
        made = self._created[task_id]
        undo = self._undoing.get(made.step) if made.member == COMPENSATION else None
        span = self._below(undo or self._step(made.step), name, kind)
        span.target = made.capability or made.agent
        span.attributes |= _task_attributes(made)
        self._tasks[task_id] = span
        return span

    def _leave(
        self,
        task_id: str,
        status: Status,
        error: str | None = None,
        message: str = "",
        usage: Json | None = None,
    ) -> Span:
        """The task's stretch that is open ends."""
        span = self._tasks[task_id]
        span.usage = read_usage(usage)
        if span.usage is not None:
            span.attributes |= {
                "gen_ai.usage.input_tokens": span.usage.input_tokens,
                "gen_ai.usage.output_tokens": span.usage.output_tokens,
                "opscore.usage.cost_usd": span.usage.cost_usd,
            }
            for model in span.usage.models:
                span.attributes["gen_ai.response.model"] = model
        self._end(span, status, error, message)
        return span

    # -- child sessions -------------------------------------------------------------------

    def child_created(self, e: ChildCreated) -> None:
        """The child's own spans are below this one."""
        span = self._below(self._step(e.step), f"session {e.workflow}", "child")
        span.span_id = self._id_of_child(self._session_id, e.child_id)
        span.attributes |= {"opscore.session.id": e.child_id, "opscore.failures": e.failures}
        if e.index is not None:
            span.attributes["opscore.item"] = e.index
        self._children[e.child_id] = span
        if e.due is not None:
            self._waits[e.child_id] = self._below(span, f"delay {e.workflow}", "delay")

    def child_released(self, e: ChildReleased) -> None:
        """A child that waited for its time starts."""
        self._waits.pop(e.child_id).end(self._at, self._seq)

    def child_ended(self, e: ChildEnded) -> None:
        """Its outcome is the step's, or a retry follows."""
        span = self._children[e.child_id]
        delay = self._waits.pop(e.child_id, None)
        if delay is not None:
            delay.end(self._at, self._seq)
        failed = e.output is None
        self._end(span, "error" if failed else "ok", e.error_class if failed else None, e.message)
        if e.ends_step and span.step is not None:
            self._end_step(span.step, "ok")

    def _id_of_child(self, parent: str, child: str) -> str:
        return span_id_of(self.trace_id, parent, "child", child)

    # -- compensation ---------------------------------------------------------------------

    def compensating(self, e: StepCompensating) -> None:
        """A step is being undone."""
        self._end_all()
        span = self._below(self.root, f"compensate {e.step}", "compensation")
        span.step = e.step
        self._undoing[e.step] = span

    def compensated(self, e: StepCompensated) -> None:
        """It is undone."""
        self._undoing.pop(e.step).end(self._at, self._seq, "ok")

    def not_compensated(self, e: CompensationFailed) -> None:
        """It could not be undone."""
        self._end(self._undoing.pop(e.step), "error", e.error_class, e.message)


def _task_attributes(made: ev.TaskCreated) -> dict[str, Value]:
    found: dict[str, Value] = {"opscore.step.name": made.step, "opscore.task.id": made.task_id}
    if made.capability is not None:
        found["opscore.capability"] = made.capability
    if made.index is not None:
        found["opscore.item"] = made.index
    if made.member > 0:
        found["opscore.fallback"] = made.member
    return found
