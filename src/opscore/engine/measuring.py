"""From what a commit changed to the figures that operators watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opscore.core import events as ev
from opscore.core.retry import AGENT_LOST
from opscore.core.state import SessionState, TaskState
from opscore.core.types import SECOND, Micros
from opscore.engine.unit import Unit
from opscore.telemetry import measures as m


class Measuring:
    """Follows the commits of one engine. `measures` has the figures since it was opened."""

    def __init__(self, now: Callable[[], Micros]) -> None:
        self.measures = m.Measures()
        self._now = now

    def committed(self, unit: Unit) -> None:
        """Count what a commit changed, and the commit."""
        now = self._now()
        if unit.commands:
            self.measures.distribution(m.COMMIT_COMMANDS).add(unit.commands)
            self.measures.distribution(m.COMMIT_SECONDS).add((now - unit.now) / SECOND)
        measured, at = _MEASURED.get, unit.now
        for state, events in unit.recorded:
            for event in events:
                measure = measured(type(event))
                if measure is not None:
                    measure(self, state, event, at)

    # -- attempts ---------------------------------------------------------------------------

    def claimed(self, state: SessionState, event: ev.TaskClaimed, now: Micros) -> None:
        """A task left its queue."""
        task = state.tasks[event.task_id]
        since = task.created_at if task.available_at is None else task.available_at
        labels = (state.namespace, task.capability or "")
        waits = self.measures.distribution(m.QUEUE_WAIT, labels)
        waits.add((now - since) / SECOND, state.trace_id, now / SECOND)

    def completed(self, state: SessionState, event: ev.TaskCompleted, now: Micros) -> None:
        """An attempt gave a result."""
        self._over(state, state.tasks[event.task_id], "completed", now)

    def released(self, state: SessionState, event: ev.TaskReleased, now: Micros) -> None:
        """An attempt was given back."""
        self._over(state, state.tasks[event.task_id], "released", now)

    def cancelled(self, state: SessionState, event: ev.TaskCancelled, now: Micros) -> None:
        """A task is not wanted any more; it may never have been claimed."""
        if event.attempt:
            self._over(state, state.tasks[event.task_id], "cancelled", now)

    def retried(self, state: SessionState, event: ev.TaskRetried, now: Micros) -> None:
        """An attempt failed, and there will be another one."""
        self._failed(state, event, now)
        self.measures.count(m.RETRIES, _work(state, state.tasks[event.task_id]))

    def failed(self, state: SessionState, event: ev.TaskFailed, now: Micros) -> None:
        """A task is given up; it may never have been claimed."""
        self._failed(state, event, now)

    def _failed(
        self, state: SessionState, event: ev.TaskRetried | ev.TaskFailed, now: Micros
    ) -> None:
        task = state.tasks[event.task_id]
        if event.attempt:
            self._over(state, task, "failed", now)
        self.measures.count(m.FAILURES, (*_work(state, task), event.error_class))
        if event.error_class == AGENT_LOST:
            self.measures.count(m.LEASES_EXPIRED, _work(state, task))

    def _over(self, state: SessionState, task: TaskState, outcome: str, now: Micros) -> None:
        labels = (state.namespace, task.capability or "", outcome)
        times = self.measures.distribution(m.ATTEMPTS, labels)
        times.add((now - task.claimed_at) / SECOND, state.trace_id, now / SECOND)

    def created(self, state: SessionState, event: ev.TaskCreated, _now: Micros) -> None:
        """A task that stands in for another one is a fallback."""
        if event.member:
            self.measures.count(m.FALLBACKS, _work(state, state.tasks[event.task_id]))

    def valued(self, state: SessionState, event: ev.FallbackValued, _now: Micros) -> None:
        """A value stands in for a task's output."""
        self.measures.count(m.FALLBACKS, _work(state, state.tasks[event.task_id]))

    # -- sessions ---------------------------------------------------------------------------

    def started(self, state: SessionState, _event: ev.SessionStarted, _now: Micros) -> None:
        """A session began."""
        self.measures.count(m.SESSIONS_STARTED, (state.namespace, state.workflow))

    def ended(self, state: SessionState, event: ev.SessionEvent, _now: Micros) -> None:
        """A session is over."""
        labels = (state.namespace, state.workflow, _ENDS[type(event)])
        self.measures.count(m.SESSIONS_ENDED, labels)


def _work(state: SessionState, task: TaskState) -> tuple[str, str]:
    """The labels of a task. One that is addressed to an agent by name has no capability."""
    return state.namespace, task.capability or ""


_ENDS: Mapping[type, str] = {
    ev.SessionCompleted: "completed",
    ev.SessionFailed: "error",
    ev.SessionCancelled: "cancelled",
}
_MEASURED: Mapping[type, Callable[[Measuring, SessionState, Any, Micros], None]] = {
    ev.TaskCreated: Measuring.created,
    ev.FallbackValued: Measuring.valued,
    ev.TaskClaimed: Measuring.claimed,
    ev.TaskCompleted: Measuring.completed,
    ev.TaskReleased: Measuring.released,
    ev.TaskCancelled: Measuring.cancelled,
    ev.TaskRetried: Measuring.retried,
    ev.TaskFailed: Measuring.failed,
    ev.SessionStarted: Measuring.started,
    **dict.fromkeys(_ENDS, Measuring.ended),
}
