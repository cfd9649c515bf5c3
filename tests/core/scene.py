"""A session on a stage: a template, a clock, and commands; every decision is checked on the way.

After each command the invariants of `check` hold, and folding the events, as they come back from
their encoding on disk, gives the very state that the decision left behind.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.agent import Agent
from opscore.core.evolve import evolve
from opscore.core.progress import Refused
from opscore.core.session import Decided, Surroundings, decide
from opscore.core.state import ChildState, SessionState, StepState, TaskState
from opscore.core.task import Completed, Failed, Outcome, Released
from opscore.core.template import Template
from opscore.core.types import (
    SECOND,
    SESSION_ENDED,
    SESSION_TRANSITIONS,
    STEP_ENDED,
    STEP_TRANSITIONS,
    TASK_ENDED,
    TASK_QUEUED,
    TASK_TRANSITIONS,
    ErrorInfo,
    SessionStatus,
    StepStatus,
    TaskStatus,
)
from opscore.engine.journal import decode, encode, raw
from opscore.engine.starts import start_event
from opscore.expressions import CelExpressions
from opscore.templates import read_template

BEGIN = 1_000_000 * SECOND
SESSION_ID = "ses_0"
expressions = cache(CelExpressions)


def template_of(steps: Mapping[str, Any], **rest: Any) -> Template:
    """A template named `t` with these steps, as a user would write it."""
    return read_template({"name": "t", "version": "1", "steps": steps, **rest})


class Scene:
    """One session and its clock. `do` gives the events of a decision, or its refusal."""

    def __init__(
        self,
        steps: Mapping[str, Any],
        *,
        input: Any = None,
        payload_limit: int = 100_000,
        **rest: Any,
    ) -> None:
        self.template = template_of(steps, **rest)
        self.now = BEGIN
        self.limit = payload_limit
        self.state = SessionState(SESSION_ID)
        self.replayed = SessionState(SESSION_ID)
        self.events: list[ev.SessionEvent] = []
        self.more = False
        self.input: Any = {} if input is None else input

    def start(self, **fields: Any) -> list[str]:
        event = start_event(
            self.template,
            namespace="default",
            now=self.now,
            input=msgspec.json.encode(self.input),
            trace_id="0" * 32,
            actor="system:test",
            **fields,
        )
        return self.done(cmd.Start(event))

    def start_bound(self, name: str, capabilities: tuple[str, ...]) -> list[str]:
        """Start it for one agent."""
        return self.start(
            agent=Agent("agt_1", "default", 1, agent_name=name, capabilities=capabilities)
        )

    # -- commands ---------------------------------------------------------------------------

    def do(self, command: cmd.SessionCommand) -> list[ev.SessionEvent] | Refused:
        """Decide, check, and remember."""
        before = copy.deepcopy(self.state)
        around = Surroundings(self.now, expressions(), self.limit)
        decision = decide(self.template, self.state, command, around)
        if isinstance(decision, Refused):
            assert self.state == before, "a refusal changed something"
            return decision
        self._replay(decision)
        self.more = decision.more or (self.more and not isinstance(command, cmd.Advance))
        check(self.template, before, self.state, more=self.more)
        self.events += decision.events
        return decision.events

    def _replay(self, decision: Decided) -> None:
        for event in decision.events:
            again = decode(event.TYPE, event.VERSION, encode(event))
            evolve(self.replayed, again, self.now)
        assert plain(self.replayed) == plain(self.state)

    def done(self, command: cmd.SessionCommand) -> list[str]:
        """The types of the events; the command must not be refused."""
        events = self.do(command)
        assert not isinstance(events, Refused), events
        return [e.TYPE for e in events]

    def refused(self, command: cmd.SessionCommand) -> str:
        """The code of the refusal; the command must be refused."""
        answer = self.do(command)
        assert isinstance(answer, Refused), answer
        return answer.code

    def later(self, seconds: float) -> Scene:
        self.now += round(seconds * SECOND)
        return self

    def advance(self) -> None:
        """All the further commits that the session asks for."""
        while self.more:
            self.more = False
            self.do(cmd.Advance())

    # -- short forms ------------------------------------------------------------------------

    def claim(self, task: TaskState | None = None, instance: str = "i1") -> TaskState:
        task = task or self.queued()[0]
        self.done(cmd.Claim(task.task_id, "agt_1", instance))
        return task

    def settle(self, task: TaskState, outcome: Outcome, attempt: int | None = None) -> list[str]:
        number = task.attempt if attempt is None else attempt
        return self.done(cmd.Settle(task.task_id, number, outcome, 0.5))

    def complete(self, task: TaskState | None = None, output: Any = 1) -> list[str]:
        return self.settle(self.claim(task), completed(output))

    def fail(self, task: TaskState | None = None, error: ErrorInfo | None = None) -> list[str]:
        return self.settle(self.claim(task), Failed(error or ErrorInfo("boom", "it broke")))

    def due(self, task: TaskState) -> list[str]:
        """Let the clock reach a scheduled task's time."""
        assert task.due is not None
        self.now = max(self.now, task.due)
        return self.done(cmd.TaskDue(task.task_id))

    def children(self, step: str | None = None) -> list[ChildState]:
        """The open child sessions, in the order in which they were begun."""
        of = [c for c in self.state.children.values() if step in (None, c.step)]
        return [c for c in of if not c.ended]

    def child_over(
        self, child: ChildState | None = None, output: Any = 1, error: ErrorInfo | None = None
    ) -> list[str]:
        """A child session ended."""
        child = child or self.children()[0]
        told = None if error is not None else raw(msgspec.json.encode(output))
        return self.done(cmd.ChildOver(child.child_id, told, error, 0.5))

    def queued(self) -> list[TaskState]:
        """What may be claimed, in the order of its places."""
        found = [t for t in self.state.tasks.values() if t.status is TaskStatus.AVAILABLE]
        return sorted(found, key=lambda t: t.order)

    def task(self, step: str, index: int | None = None) -> TaskState:
        """The last task made for a step or an item."""
        return [t for t in self.state.tasks.values() if (t.step, t.index) == (step, index)][-1]

    def step(self, name: str) -> StepStatus:
        return self.state.steps[name].status

    @property
    def status(self) -> SessionStatus:
        return self.state.status

    @property
    def output(self) -> Any:
        return None if self.state.output is None else msgspec.json.decode(self.state.output)


def completed(output: Any = 1) -> Completed:
    return Completed(raw(msgspec.json.encode(output)))


RELEASED = Released("given back")


def given(task: TaskState) -> Any:
    """A task's input, decoded."""
    assert task.input is not None
    return msgspec.json.decode(task.input)


def plain(state: SessionState) -> Any:
    """A state as plain data: encoded documents count by their content, untouched steps do not."""
    found = msgspec.json.decode(msgspec.json.encode(state))
    found["steps"] = {n: s for n, s in found["steps"].items() if s != _UNTOUCHED}
    return found


_UNTOUCHED = msgspec.json.decode(msgspec.json.encode(StepState()))


# -- what always holds ----------------------------------------------------------------------


def check(template: Template, before: SessionState, state: SessionState, *, more: bool) -> None:
    _counts(state)
    _moves(before, state)
    _not_stuck(template, state, more=more)


def _counts(state: SessionState) -> None:
    tasks = list(state.tasks.values())
    assert state.running == sum(t.status is TaskStatus.RUNNING for t in tasks)
    assert state.queued == sum(t.status in TASK_QUEUED for t in tasks)
    children = list(state.children.values())
    assert state.open_children == sum(not c.ended for c in children)
    for name, step in state.steps.items():
        of_step = [t for t in tasks if t.step == name]
        open_children = [c for c in children if c.step == name and not c.ended]
        assert (step.child_ids or []) == [c.child_id for c in children if c.step == name]
        assert step.running == sum(t.status is TaskStatus.RUNNING for t in of_step), name
        open_tasks = sum(t.status not in TASK_ENDED for t in of_step)
        assert step.active == open_tasks + len(open_children), name
        assert step.task_ids == [t.task_id for t in of_step]
        open_ends = Counter(t.index for t in of_step if t.status not in TASK_ENDED)
        open_ends.update(c.index for c in open_children if not c.abandoned)
        assert all(count == 1 for count in open_ends.values()), "two open tasks for one item"
        if step.items is not None:
            assert step.done == sum(o is not None for o in step.outputs), name
            assert len(step.outputs) == len(step.items)
        if step.status is StepStatus.COMPLETED and step.items is not None:
            assert all(o is not None for o in step.outputs)


def _moves(before: SessionState, state: SessionState) -> None:
    """Only the transitions of the tables, possibly several in one decision."""
    assert state.seq >= before.seq
    if before.seq:
        assert state.status in _reachable(SESSION_TRANSITIONS, before.status)
    for task_id, task in before.tasks.items():
        after = state.tasks[task_id]
        assert after.status in _reachable(TASK_TRANSITIONS, task.status)
        assert after.attempt >= task.attempt and after.failures >= task.failures
        assert after.attempt - task.attempt <= 1
    for name, step in before.steps.items():
        assert state.steps[name].status in _reachable(STEP_TRANSITIONS, step.status), name


@cache
def _all_reachable(table_id: int) -> dict[Any, frozenset[Any]]:
    table = {id(t): t for t in (SESSION_TRANSITIONS, STEP_TRANSITIONS, TASK_TRANSITIONS)}[table_id]
    reach: dict[Any, set[Any]] = {k: {k, *v} for k, v in table.items()}
    for _ in table:
        for found in reach.values():
            found.update(*[reach[each] for each in tuple(found)])
    return {k: frozenset(v) for k, v in reach.items()}


def _reachable(table: Mapping[Any, frozenset[Any]], status: Any) -> frozenset[Any]:
    return _all_reachable(id(table))[status]


def _not_stuck(template: Template, state: SessionState, *, more: bool) -> None:
    if state.status in SESSION_ENDED:
        assert state.running == state.queued == state.open_children == 0
        assert state.finished_at is not None and state.stopping is None
        ended = {*STEP_ENDED, StepStatus.PENDING}
        assert all(state.steps[name].status in ended for name in template.order)
        return
    assert state.finished_at is None
    under_way = state.queued or state.running or state.open_children or state.waits()
    waits = under_way or more or state.paused_at is not None or state.held
    assert waits, "nothing will ever move this session on"
