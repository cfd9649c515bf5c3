"""Why a session, or one of its tasks, does not go on: facts in, typed reasons out.

What the session knows itself comes from its state; what only the outside knows (which agents there
are, how long a queue is) comes as `Facts`. `core.why_words` says the reasons in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import ClassVar

from opscore.core.agent import Availability
from opscore.core.limits import Shut, Terms
from opscore.core.record import record
from opscore.core.state import SessionState, StepState, TaskState
from opscore.core.template import Target, Template
from opscore.core.types import SESSION_ENDED, ErrorInfo, Micros, Phase, StepStatus, TaskStatus
from opscore.core.why_waits import (
    Children,
    LimitFull,
    RateShut,
    SessionsFull,
    StartsShut,
    WaitsForApproval,
    WaitsForSignal,
    WaitsForTime,
)

NAMED = 20
"""Tasks, attempts and agents that one reason names; counts are of all."""


@record
class Taker:
    """An agent that could take a task: whether it may be given one now, and what it works on."""

    agent_id: str
    name: str
    availability: Availability
    in_flight: int = 0
    slots: int = 0
    busy_with: tuple[str, ...] = ()


@record
class Facts:
    """What the outside knows.

    Who could take tasks, and how many have the capability when nobody could; how many tasks stand
    before one; which limit has no room for one.
    """

    takers: Mapping[Target, Sequence[Taker]]
    ahead: Mapping[str, int]
    shut: Mapping[str, Shut] = field(default_factory=dict[str, Shut])
    capable: Mapping[Target, int] = field(default_factory=dict[Target, int])


@record
class Group:
    """Tasks of one step that wait for the same agents, first in the queue first."""

    step: str
    target: Target
    tasks: Sequence[TaskState]


# -- reasons --------------------------------------------------------------------------------


@record
class NoAgent:
    """Nobody who is registered could ever take these tasks.

    `capable` have the capability, and not what else is asked.
    """

    KIND: ClassVar[str] = "no_agent"
    step: str
    since: Micros
    tasks: tuple[str, ...]
    count: int
    target: Target
    capable: int = 0


@record
class NobodyFree:
    """Those who could take the tasks are busy, offline, draining, failed."""

    KIND: ClassVar[str] = "nobody_free"
    step: str
    since: Micros
    tasks: tuple[str, ...]
    count: int
    target: Target
    takers: tuple[Taker, ...]
    position: int


@record
class InQueue:
    """Somebody is free: the first of these tasks is about to be handed out, or others come first."""

    KIND: ClassVar[str] = "in_queue"
    step: str
    since: Micros
    tasks: tuple[str, ...]
    count: int
    target: Target
    takers: tuple[Taker, ...]
    position: int


@record
class Delayed:
    """Tasks wait for their time: a retry (`error` is what failed), or a delay that was asked for."""

    KIND: ClassVar[str] = "delayed"
    step: str
    since: Micros
    until: Micros
    tasks: tuple[str, ...]
    count: int
    attempt: int
    error: ErrorInfo | None


@record
class InFlight:
    """One attempt that an agent works on."""

    task_id: str
    attempt: int
    agent_id: str
    instance_id: str
    since: Micros


@record
class Running:
    """Agents work on these."""

    KIND: ClassVar[str] = "running"
    step: str
    since: Micros
    attempts: tuple[InFlight, ...]
    count: int


@record
class ParallelFull:
    """A `foreach` has as many items under way as `maxParallel` allows; `left` are not begun."""

    KIND: ClassVar[str] = "max_parallel"
    step: str
    since: Micros
    active: int
    limit: int
    left: int


@record
class Paused:
    """Somebody paused the session."""

    KIND: ClassVar[str] = "paused"
    since: Micros
    by: str
    reason: str


@record
class WindingDown:
    """The session was cancelled, or failed: what still runs has until then to stop.

    `phase`: in the later ones it has, and what is there for a failure runs, or steps are undone.
    """

    KIND: ClassVar[str] = "cancelling"
    since: Micros
    until: Micros
    by: str
    cancelled: bool
    phase: Phase
    error: ErrorInfo


@record
class GoingOn:
    """Nothing is waited for: the next commit carries the session on."""

    KIND: ClassVar[str] = "going_on"
    since: Micros


Reason = (
    NoAgent
    | NobodyFree
    | InQueue
    | LimitFull
    | RateShut
    | Delayed
    | Running
    | ParallelFull
    | WaitsForTime
    | WaitsForSignal
    | WaitsForApproval
    | Children
    | SessionsFull
    | StartsShut
    | Paused
    | WindingDown
    | GoingOn
)


# -- from facts to reasons ------------------------------------------------------------------


def queued(state: SessionState, task_id: str | None = None) -> list[Group]:
    """The tasks that may be claimed, grouped by whom they are for: what `Facts` are needed of."""
    if state.paused_at is not None or state.draining:
        return []
    groups: dict[tuple[str, Target, Terms | None], list[TaskState]] = {}
    for task in _tasks(state, task_id, TaskStatus.AVAILABLE):
        groups.setdefault((task.step, target_of(task), task.terms), []).append(task)
    return [
        Group(step, target, sorted(tasks, key=lambda task: task.order))
        for (step, target, _), tasks in groups.items()
    ]


def target_of(task: TaskState) -> Target:
    """Whom a task is for: one agent by name, or whoever has the capability."""
    if task.agent is not None:
        return Target(agent=task.agent)
    return Target(task.capability, match=task.match)


def _tasks(state: SessionState, task_id: str | None, status: TaskStatus) -> list[TaskState]:
    known = state.tasks.get(task_id) if task_id is not None else None
    tasks = state.tasks.values() if task_id is None else [] if known is None else [known]
    return [task for task in tasks if task.status is status]


def why(
    state: SessionState, template: Template, facts: Facts, task_id: str | None = None
) -> list[Reason]:
    """What a session, or one task of it, waits for; nothing when it has ended."""
    if state.status in SESSION_ENDED:
        return []
    found: list[Reason] = [*_held(state), *_room(state, facts), *_in_flight(state, task_id)]
    if state.paused_at is None and not state.draining:
        found += [_queued(group, facts) for group in queued(state, task_id)]
        found += _delayed(state, task_id)
        if task_id is None:
            found += _parallel(state, template)
            found += [_waits(state.steps[name], name) for name in state.waits()]
    if task_id is None:
        found += _children(state)
    if not found and task_id is None:
        found.append(GoingOn(state.updated_at))
    return found


def _held(state: SessionState) -> Iterable[Reason]:
    if state.stopping is not None:
        s = state.stopping
        yield WindingDown(s.since, s.grace_until, s.actor, s.cancelled, s.phase, s.error)
    elif state.paused_at is not None:
        yield Paused(state.paused_at, state.paused_by, state.pause_reason)


def _room(state: SessionState, facts: Facts) -> Iterable[Reason]:
    """Of a session that is not let in yet: under which limit there is no room for it."""
    shut = facts.shut.get(state.session_id) if state.held else None
    if shut is None:
        return
    since, position = state.updated_at, shut.ahead + 1
    if shut.until is not None:
        yield StartsShut(since, shut.until, shut.key, shut.limit, shut.per, position)
    else:
        sessions = tuple(holder for holder, _ in shut.holders[:NAMED])
        yield SessionsFull(since, shut.key, shut.limit, shut.in_use, sessions, position)


def _children(state: SessionState) -> Iterable[Reason]:
    if state.open_children == 0:
        return
    of_step: dict[str, list[str]] = {}
    for child in state.children.values():
        if not child.ended:
            of_step.setdefault(child.step, []).append(child.child_id)
    for step, sessions in of_step.items():
        since = state.steps[step].started_at or state.updated_at
        yield Children(step, since, tuple(sessions[:NAMED]), len(sessions))


def _queued(group: Group, facts: Facts) -> Reason:
    step, target, tasks = group.step, group.target, group.tasks
    since = min(_available_since(task) for task in tasks)
    named = tuple(task.task_id for task in tasks[:NAMED])
    shut = facts.shut.get(tasks[0].task_id)
    if shut is not None:
        return _shut(shut, step, since, named, len(tasks))
    takers = tuple(facts.takers.get(target, ()))
    if not takers:
        return NoAgent(step, since, named, len(tasks), target, facts.capable.get(target, 0))
    position = facts.ahead.get(tasks[0].task_id, 0) + 1
    free = any(taker.availability is Availability.AVAILABLE for taker in takers)
    kind = InQueue if free else NobodyFree
    return kind(step, since, named, len(tasks), target, takers[:NAMED], position)


def _shut(shut: Shut, step: str, since: Micros, named: tuple[str, ...], count: int) -> Reason:
    position = shut.ahead + 1
    if shut.until is not None:
        of = (shut.key, shut.limit, shut.per)
        return RateShut(step, since, shut.until, named, count, *of, position)
    holders = shut.holders[:NAMED]
    of = (shut.key, shut.limit, shut.in_use)
    return LimitFull(step, since, named, count, *of, holders, position)


def _available_since(task: TaskState) -> Micros:
    return task.available_at or task.created_at


def _delayed(state: SessionState, task_id: str | None) -> Iterable[Reason]:
    for step, tasks in _by_step(_tasks(state, task_id, TaskStatus.SCHEDULED)):
        first = min(tasks, key=lambda task: task.due or 0)
        named = tuple(task.task_id for task in tasks[:NAMED])
        since = min(task.updated_at for task in tasks)
        due, attempt = first.due or 0, first.attempt
        yield Delayed(step, since, due, named, len(tasks), attempt, first.error)


def _in_flight(state: SessionState, task_id: str | None) -> Iterable[Reason]:
    for step, tasks in _by_step(_tasks(state, task_id, TaskStatus.RUNNING)):
        attempts = tuple(
            InFlight(t.task_id, t.attempt, t.agent_id or "", t.instance_id or "", t.updated_at)
            for t in tasks[:NAMED]
        )
        yield Running(step, min(t.updated_at for t in tasks), attempts, len(tasks))


def _by_step(tasks: Iterable[TaskState]) -> Iterable[tuple[str, list[TaskState]]]:
    steps: dict[str, list[TaskState]] = {}
    for task in tasks:
        steps.setdefault(task.step, []).append(task)
    return steps.items()


def _waits(step: StepState, name: str) -> Reason:
    since = step.started_at or 0
    if step.approval is not None:
        asked = step.approval
        of = (asked.title, asked.approvers, len(asked.votes), asked.quorum)
        return WaitsForApproval(name, asked.requested_at, step.due, *of)
    if step.signal is not None:
        return WaitsForSignal(name, since, step.due, step.signal)
    return WaitsForTime(name, since, step.due or 0)


def _parallel(state: SessionState, template: Template) -> Iterable[Reason]:
    for name, step in state.steps.items():
        limit = template.steps[name].max_parallel
        if limit is None or step.status is not StepStatus.RUNNING or step.items is None:
            continue
        left = len(step.items) - step.next_index
        if left > 0 and step.active >= limit:
            yield ParallelFull(name, step.started_at or 0, step.active, limit, left)
