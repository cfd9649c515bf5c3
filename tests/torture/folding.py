"""The checker's own fold of a journal: where sessions, steps and tasks stand, event by event.

Written anew from docs/architecture.md and the events' fields, so that a mistake in the product's fold
is not repeated here. Steps that may end in ways of their own (`foreach`, `repeat`) are told by the
events' `ends_step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.torture.evidence import Event

SESSION_GRAPH = {
    "": {"waiting"},
    "waiting": {"processing", "paused", "completed", "error", "cancelled"},
    "processing": {"paused", "completed", "error", "cancelled"},
    "paused": {"waiting", "processing", "completed", "error", "cancelled"},
    "completed": set[str](),
    "error": {"processing"},
    "cancelled": {"processing"},
}
STEP_GRAPH = {
    "pending": {"waiting", "running", "completed", "failed", "skipped", "cancelled"},
    "waiting": {"running", "completed", "failed", "cancelled"},
    "running": {"completed", "failed", "cancelled"},
    "completed": {"pending", "compensated"},
    "failed": {"pending", "running"},
    "skipped": {"pending"},
    "cancelled": {"pending", "running"},
    "compensated": {"pending"},
}
TASK_GRAPH = {
    "": {"scheduled", "available"},
    "scheduled": {"available", "failed", "cancelled"},
    "available": {"running", "failed", "cancelled"},
    "running": {"scheduled", "available", "completed", "failed", "cancelled"},
    "completed": set[str](),
    "failed": {"available"},
    "cancelled": set[str](),
}
ENDED = frozenset({"completed", "error", "cancelled"})
TASK_ENDED = frozenset({"completed", "failed", "cancelled"})
STEP_ENDED = frozenset({"completed", "failed", "skipped", "cancelled", "compensated"})
OVER = frozenset({"task.completed", "task.retried", "task.released", "task.failed"}) | {
    "task.cancelled"
}
"""Events that end an attempt, when they name one."""


@dataclass
class Task:
    """A task so far. `due`: from when it may be claimed; `instance`: whose its attempt is."""

    step: str
    member: int
    status: str = ""
    attempt: int = 0
    failures: int = 0
    due: int | None = None
    instance: str = ""
    terms: Mapping[str, Any] | None = None
    output: Any = None


@dataclass
class Step:
    """A step so far. `late`: it began because the session failed."""

    status: str = "pending"
    late: bool = False
    expanded: bool = False


@dataclass
class Session:
    """A session so far. `faults`: steps off the declared graph that its events took."""

    session_id: str
    status: str = ""
    seq: int = 0
    started: bool = False
    stopping: bool = False
    compensating: bool = False
    output: Any = None
    steps: dict[str, Step] = field(default_factory=dict[str, Step])
    tasks: dict[str, Task] = field(default_factory=dict[str, Task])
    children: dict[str, str] = field(default_factory=dict[str, str])
    faults: list[str] = field(default_factory=list[str])

    def fold(self, event: Event) -> None:
        """Take in the next event of its journal."""
        self.seq += 1
        verb = event.type.replace(".", "_")
        act = getattr(self, f"_{verb}", None)
        if act is not None:
            act(event.data)

    # Sessions

    def _become(self, status: str, why: str) -> None:
        if status != self.status and status not in SESSION_GRAPH.get(self.status, ()):
            self.faults.append(f"session {self.session_id} went {self.status} → {status} ({why})")
        self.status = status

    def _going(self) -> str:
        return "processing" if self.started else "waiting"

    def _session_started(self, _: Mapping[str, Any]) -> None:
        self._become("waiting", "session.started")

    def _session_paused(self, _: Mapping[str, Any]) -> None:
        self._become("paused", "session.paused")

    def _session_resumed(self, _: Mapping[str, Any]) -> None:
        self._become(self._going(), "session.resumed")

    def _session_stopping(self, _: Mapping[str, Any]) -> None:
        self.stopping = True
        if self.status == "paused":
            self._become(self._going(), "session.stopping")

    def _session_handling(self, _: Mapping[str, Any]) -> None:
        self._cancel_open()

    def _session_completed(self, data: Mapping[str, Any]) -> None:
        self.output = data["output"]
        self._end("completed")

    def _session_failed(self, _: Mapping[str, Any]) -> None:
        self._cancel_open()
        self._end("error")

    def _session_cancelled(self, _: Mapping[str, Any]) -> None:
        self._cancel_open()
        self._end("cancelled")

    def _end(self, status: str) -> None:
        self._become(status, "its end")
        self.stopping = self.compensating = False

    def _session_retried(self, data: Mapping[str, Any]) -> None:
        self._become("processing", "session.retried")
        for name in data["steps"]:
            self._reopen(name)

    def _reopen(self, name: str) -> None:
        step = self._step(name)
        half_way = step.status in {"failed", "cancelled"} and not step.late
        step.expanded = step.expanded and half_way
        self._move(name, "running" if step.expanded else "pending")
        step.late = False

    def _session_reopened(self, _: Mapping[str, Any]) -> None:
        self.stopping = self.compensating = True
        self._become("processing", "session.reopened")

    # Steps

    def _step(self, name: str) -> Step:
        return self.steps.setdefault(name, Step())

    def _move(self, name: str, status: str) -> None:
        step = self._step(name)
        if step.status == status:
            return
        if status not in STEP_GRAPH[step.status]:
            self.faults.append(f"step {name} of {self.session_id}: {step.status} → {status}")
        step.late = self.stopping if step.status == "pending" else step.late
        step.status = status

    def _finish(self, name: str, status: str) -> None:
        if self._step(name).status == status:
            self.faults.append(f"step {name} of {self.session_id} is {status} a second time")
        self._move(name, status)

    def _cancel_open(self) -> None:
        for name, step in self.steps.items():
            if step.status in {"running", "waiting"}:
                self._move(name, "cancelled")

    def _begin(self, name: str) -> None:
        if self._step(name).status == "pending":
            self._move(name, "running")

    def _under_way(self) -> None:
        self.started = True
        if self.status == "waiting":
            self._become("processing", "work began")

    def _done(self, data: Mapping[str, Any], name: str) -> None:
        if data["ends_step"]:
            self._finish(name, "completed")

    def _step_expanded(self, data: Mapping[str, Any]) -> None:
        self._step(data["step"]).expanded = True
        self._move(data["step"], "running")

    def _step_skipped(self, data: Mapping[str, Any]) -> None:
        self._finish(data["step"], "skipped")

    def _step_completed(self, data: Mapping[str, Any]) -> None:
        self._finish(data["step"], "completed")

    def _step_failed(self, data: Mapping[str, Any]) -> None:
        self._finish(data["step"], "failed")

    def _step_compensating(self, _: Mapping[str, Any]) -> None:
        if not self.compensating:
            self.compensating = True
            self._cancel_open()

    def _step_compensated(self, data: Mapping[str, Any]) -> None:
        self._move(data["step"], "compensated")

    def _step_waiting(self, data: Mapping[str, Any]) -> None:
        self._under_way()
        self._move(data["step"], "waiting")

    def _approval_requested(self, data: Mapping[str, Any]) -> None:
        self._step_waiting(data)

    def _step_cancelled(self, data: Mapping[str, Any]) -> None:
        self._move(data["step"], "cancelled")

    def _wait_failed(self, data: Mapping[str, Any]) -> None:
        self._begin(data["step"])
        if self._step(data["step"]).status == "waiting":
            self._move(data["step"], "running")

    def _signal_taken(self, data: Mapping[str, Any]) -> None:
        self._finish(data["step"], "completed")

    def _item_failed(self, data: Mapping[str, Any]) -> None:
        self._done(data, data["step"])

    def _item_valued(self, data: Mapping[str, Any]) -> None:
        self._done(data, data["step"])

    def _child_created(self, data: Mapping[str, Any]) -> None:
        self.children[data["child_id"]] = data["step"]
        self._begin(data["step"])
        self._under_way()

    def _child_ended(self, data: Mapping[str, Any]) -> None:
        if data["output"] is not None:
            self._done(data, self.children[data["child_id"]])

    # Tasks

    def _task_to(self, task_id: str, status: str) -> Task:
        task = self.tasks.get(task_id)
        if task is None:
            self.faults.append(f"task {task_id} was never created")
            task = self.tasks[task_id] = Task("", 0, status)
        elif status not in TASK_GRAPH[task.status]:
            self.faults.append(f"task {task_id}: {task.status} → {status}")
        task.status = status
        return task

    def _task_created(self, data: Mapping[str, Any]) -> None:
        self._begin(data["step"])
        task = Task(data["step"], data["member"], due=data["due"], terms=data["terms"])
        if data["task_id"] in self.tasks:
            self.faults.append(f"task {data['task_id']} was created twice")
        self.tasks[data["task_id"]] = task
        self._task_to(data["task_id"], "available" if task.due is None else "scheduled")

    def _task_available(self, data: Mapping[str, Any]) -> None:
        self._task_to(data["task_id"], "available")

    def _task_claimed(self, data: Mapping[str, Any]) -> None:
        task = self._task_to(data["task_id"], "running")
        if data["attempt"] != task.attempt + 1:
            self.faults.append(f"task {data['task_id']}: attempt {data['attempt']} out of turn")
        task.attempt, task.instance = data["attempt"], data["instance_id"]
        self._under_way()

    def _task_completed(self, data: Mapping[str, Any]) -> None:
        task = self._task_to(data["task_id"], "completed")
        task.output = data["output"]
        if task.member >= 0:
            self._done(data, task.step)

    def _task_retried(self, data: Mapping[str, Any]) -> None:
        task = self._task_to(data["task_id"], "scheduled")
        task.failures += 1
        task.due = data["due"]

    def _task_released(self, data: Mapping[str, Any]) -> None:
        self._task_to(data["task_id"], "available")

    def _task_failed(self, data: Mapping[str, Any]) -> None:
        task = self._task_to(data["task_id"], "failed")
        task.failures += 1 if data["attempt"] else 0

    def _fallback_valued(self, data: Mapping[str, Any]) -> None:
        self._done(data, self.tasks[data["task_id"]].step)

    def _task_cancelled(self, data: Mapping[str, Any]) -> None:
        self._task_to(data["task_id"], "cancelled")
