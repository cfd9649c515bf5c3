"""A task: work for an agent with a capability, or for one agent by name."""

from __future__ import annotations

from collections.abc import Mapping

from opscore.core import events as ev
from opscore.core.expressions import ExpressionFailed, ExpressionScope
from opscore.core.flow import terms_of
from opscore.core.kinds.kind import Kind, Worst
from opscore.core.limits import Terms
from opscore.core.match_rules import match_of
from opscore.core.progress import Draft, bound, expand
from opscore.core.reading import Reader
from opscore.core.retry import backoff
from opscore.core.state import SessionState
from opscore.core.template import Step, Target, Timeouts
from opscore.core.types import ErrorInfo, Json, ready_order, task_id_of


def read_target(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Target:
    """`capability: NAME` or `agent: NAME`; neither in a step of the older format."""
    capability = agent = None
    if "capability" in node:
        capability = reader.name(node["capability"], f"{where}/capability", "capability")
    elif "agent" in node:
        agent = reader.name(node["agent"], f"{where}/agent", "agent")
    return Target(capability, agent)


def _start(draft: Draft, step: Step) -> None:
    if step.timeout.total is not None:
        bound(draft, step)
    if step.foreach is not None:
        expand(draft, step)
    else:
        create_task(draft, step, None, None, 0)


def _start_item(draft: Draft, step: Step, item: Json, index: int) -> None:
    create_task(draft, step, item, index, 0)


def create_task(
    draft: Draft,
    step: Step,
    item: Json | None,
    index: int | None,
    member: int,
    error: ErrorInfo | None = None,
) -> None:
    """Make the task of a step, of one of its items, or of one member of its fallback chain.

    A member sees the `error` that it is for. Raises ExpressionFailed when the input cannot be
    rendered or is too large.
    """
    first = step.work if isinstance(step.work, Target) else Target()
    target, with_, rules = first, step.with_, step.match
    scope = draft.scope(step, item, index)
    if member:
        chosen = step.fallback[member - 1]
        assert chosen.target is not None
        target, with_, rules = chosen.target, chosen.with_ or with_, chosen.match
        scope.error = error
    rendered = draft.expressions.render(with_, scope)
    match = None if rules is None else match_of(rules, draft.expressions, scope)
    addressee = _addressee(draft.state, first, target, match)
    terms = None
    if step.concurrency is not None or step.rate is not None:
        terms = terms_of(step.concurrency, step.rate, draft.expressions, scope)
    add_task(draft, step, addressee, rendered, index, member, step.timeout, terms, match)


def add_task(
    draft: Draft,
    step: Step,
    addressee: tuple[str | None, str | None],
    rendered: Json,
    index: int | None,
    member: int,
    timeout: Timeouts,
    terms: Terms | None = None,
    match: str | None = None,
) -> None:
    """Make a task for a capability or an agent. Raises ExpressionFailed when its input is too large."""
    if len(rendered) > draft.payload_limit:
        raise draft.too_large(rendered, f"the input of step {step.name}")
    state = draft.state
    number = len(state.tasks) + 1
    priority = state.priority if step.priority is None else step.priority
    due = state.due if state.due is not None and state.due > draft.now else None
    capability, agent = addressee
    draft.emit(
        ev.TaskCreated(
            task_id=task_id_of(state.session_id, number),
            step=step.name,
            index=index,
            member=member,
            capability=capability,
            agent=agent,
            input=rendered,
            priority=priority,
            order=ready_order(draft.now, priority) + number,
            due=due,
            queue_deadline=None if due is not None else draft.queue_deadline(timeout),
            terms=terms,
            match=match,
        )
    )


def _addressee(
    state: SessionState, first: Target, target: Target, match: str | None
) -> tuple[str | None, str | None]:
    """Capability and agent name of a task.

    A session bound to an agent prefers that agent, where the step does not say itself which it wants.
    """
    capability = target.capability or (first.capability if target is not first else None)
    if target.agent is not None:
        return capability, target.agent
    if (
        match is None
        and state.agent_name is not None
        and (capability is None or capability in state.agent_capabilities)
    ):
        return capability, state.agent_name
    if capability is None:
        raise ExpressionFailed(
            "the step names no capability, and the session is bound to no agent", "fatal"
        )
    return capability, None


def _worst(step: Step) -> Worst:
    return worst_of_chain(step, 1)


def worst_of_chain(step: Step, first: int) -> Worst:
    """The most that `first` tasks and those of the step's fallbacks cost, one after the other.

    Every attempt fails as late as it can.
    """
    tasks = first + sum(member.target is not None for member in step.fallback)
    attempts = tasks * step.retry.max_attempts
    children = tuple(
        f"what workflow {member.child.workflow} does"
        for member in step.fallback
        if member.child is not None
    )
    longest, queue = step.timeout.attempt, step.timeout.queue
    lacking = ["attempt"] * (longest is None) + ["queue"] * (queue is None) if tasks else []
    if longest is None or queue is None or children:
        why = (*(f"no timeout {each}" for each in lacking), *children)
        return Worst(None if children else attempts, None if why else 0, why)
    delays = sum(backoff(step.retry, n, _LATEST) for n in range(1, step.retry.max_attempts))
    return Worst(attempts, attempts * (queue + longest) + tasks * delays)


def worst_in_turn(first: Worst, then: Worst) -> Worst:
    """Both, one after the other."""
    sums = [
        None if a is None or b is None else a + b
        for a, b in ((first.attempts, then.attempts), (first.time, then.time))
    ]
    return Worst(sums[0], sums[1], (*first.why, *then.why))


_LATEST = 1.0
"""The random number with which jitter makes a delay longest."""


TASK = Kind(
    name="task",
    keys=("capability", "agent"),
    modifiers=frozenset(
        {"with", "foreach", "maxParallel", "failures", "repeat"}
        | {"retry", "timeout", "fallback", "priority", "concurrency", "rate", "match", "output"}
    ),
    why_not="",
    read=read_target,
    start=_start,
    start_item=_start_item,
    worst=_worst,
)
