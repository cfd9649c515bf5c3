"""How a session's graph moves on: which steps start and which fail. `ending` says how it ends.

A `Draft` collects the events of one decision and folds each at once, so that what follows in the
same decision sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opscore.core import events as ev
from opscore.core.durations import show_duration
from opscore.core.evolve import evolve
from opscore.core.expressions import (
    ExpressionFailed,
    Expressions,
)
from opscore.core.retry import CANCELLED, INVALID_OUTPUT, TIMEOUT
from opscore.core.scope import StepScope
from opscore.core.state import ChildState, SessionState, StepState, TaskState, running_attempt
from opscore.core.template import Step, Template, Timeouts, Value
from opscore.core.types import (
    CANCEL_GRACE,
    MAX_ITEMS,
    MAX_ITEMS_PER_COMMIT,
    SESSION_ENDED,
    STEP_ENDED,
    TASK_ENDED,
    TASK_QUEUED,
    ErrorInfo,
    Json,
    Micros,
    StepStatus,
    When,
)


@dataclass(frozen=True, slots=True)
class Refused:
    """The command does not fit the state. `code` is a stable word of the contract."""

    code: str
    detail: str


@dataclass(slots=True)
class Draft:
    """The events of one decision, folded as they are drawn up.

    `budget` bounds the tasks made or cancelled in one commit; `more` says that it ran out.
    """

    template: Template
    state: SessionState
    now: Micros
    expressions: Expressions
    payload_limit: int
    events: list[ev.SessionEvent]
    budget: int = MAX_ITEMS_PER_COMMIT
    more: bool = False

    def emit(self, event: ev.SessionEvent) -> None:
        """Record a fact and fold it."""
        self.events.append(event)
        evolve(self.state, event, self.now)

    def spend(self) -> bool:
        """Take one unit of the budget; False when it is used up."""
        if self.budget <= 0:
            self.more = True
            return False
        self.budget -= 1
        return True

    def steps(self) -> Iterator[tuple[str, StepState]]:
        """The steps that anything is known of, in the template's order.

        The state's own order is that in which they were first looked at, which a replay need not
        share: no decision may depend on it.
        """
        known = self.state.steps
        return ((name, known[name]) for name in self.template.order if name in known)

    def waits(self) -> list[str]:
        """The steps that wait for a time, a signal or people, in the template's order."""
        return [name for name, step in self.steps() if step.status is StepStatus.WAITING]

    def queue_deadline(self, bounds: Timeouts) -> Micros | None:
        """Until when a task that is available from now on may wait.

        A pause stands outside time: resuming adds all of it.
        """
        since = self.now if self.state.paused_at is None else self.state.paused_at
        return None if bounds.queue is None else since + bounds.queue

    def encode(self, step: Step, tree: object) -> Json:
        """The JSON of a plain tree."""
        return self.expressions.render(Value(tree, dynamic=False), self.scope(step))

    def too_large(self, document: Json, what: str) -> ExpressionFailed:
        """Says that a rendered document is over the payload limit."""
        return ExpressionFailed(
            f"{what} has {len(document)} bytes; the limit is {self.payload_limit}",
            "payload_too_large",
        )

    def scope(self, step: Step, item: Json | None = None, index: int | None = None) -> StepScope:
        """What the expressions of `step` see: of the whole step, or of one item."""
        scope = StepScope(self.template, self.state, self.expressions, step.ancestors, item, index)
        if step.repeat is not None:
            state = self.state.steps[step.name]
            scope.index, scope.previous = state.iteration, state.output
        if step.when is not When.COMPLETED:
            scope.error = failure_before(self.state, step)
        return scope


def failure_before(state: SessionState, step: Step) -> ErrorInfo | None:
    """What a step that runs after a failure sees as `error`: its needs' first, or the session's."""
    for need in step.needs:
        if state.steps[need].status is StepStatus.FAILED:
            return state.steps[need].error
    return None if state.stopping is None else state.stopping.error


def start_steps(draft: Draft, names: Iterable[str]) -> None:
    """Start those of `names` whose needs have ended, and whatever that lets start in turn."""
    work = list(names)
    while work:
        name = work.pop(0)
        if draft.state.draining:
            return
        step = draft.template.steps[name]
        if not _may_start(draft.state, step):
            continue
        try:
            _start_step(draft, step)
        except ExpressionFailed as failure:
            fail_step(draft, name, ErrorInfo(failure.error_class, str(failure)))
        if draft.state.steps[name].status in STEP_ENDED:
            work.extend(draft.template.dependents.get(name, ()))


def _may_start(state: SessionState, step: Step) -> bool:
    """A need that failed while the session goes on was allowed to, or this is what follows."""
    if state.paused_at is not None or state.steps[step.name].status is not StepStatus.PENDING:
        return False
    for need in step.needs:  # noqa: SIM110 - a generator costs as much as the whole check
        if state.steps[need].status not in STEP_ENDED:
            return False
    return True


def _start_step(draft: Draft, step: Step) -> None:
    if step.when is When.FAILED and not _a_need_failed(draft.state, step):
        draft.emit(ev.StepSkipped(step.name, "none of the steps it needs failed or was cancelled"))
    elif step.condition is not None and not draft.expressions.condition(
        step.condition, draft.scope(step)
    ):
        draft.emit(ev.StepSkipped(step.name, f"the condition is false: {step.condition}"))
    else:
        step.kind.start(draft, step)


def _a_need_failed(state: SessionState, step: Step) -> bool:
    return any(state.steps[need].status in _NOT_DONE for need in step.needs)


_NOT_DONE = (StepStatus.FAILED, StepStatus.CANCELLED)


def bound(draft: Draft, step: Step) -> None:
    """The time of a step with a total timeout runs from now on, unless it does already."""
    total = step.timeout.total
    if total is not None and draft.state.steps[step.name].due is None:
        draft.emit(ev.StepBounded(step.name, draft.now + total))


def out_of_time(draft: Draft, step: Step) -> None:
    """A step's total timeout has passed, whatever its work is at: that ends, and the step fails."""
    long = show_duration(step.timeout.total or 0)
    error = ErrorInfo(TIMEOUT, f"step {step.name} took longer than its total timeout of {long}")
    cancel_rest(draft, step.name, error.message)
    fail_step(draft, step.name, error)
    step_ended(draft, step.name)


def expand(draft: Draft, step: Step) -> None:
    """Begin a `foreach`: note its items and start the first of them."""
    assert step.foreach is not None
    items = tuple(draft.expressions.items(step.foreach, draft.scope(step)))
    if len(items) > MAX_ITEMS:
        raise ExpressionFailed(
            f"foreach of step {step.name} has {len(items)} items; the limit is {MAX_ITEMS}",
            "expression_limit",
        )
    draft.emit(ev.StepExpanded(step.name, items))
    materialise(draft, step)
    if not items:
        draft.emit(ev.StepCompleted(step.name))


def materialise(draft: Draft, step: Step) -> None:
    """Start the next items of a `foreach`, as many as `maxParallel` and budget allow."""
    start_item = step.kind.start_item
    assert start_item is not None
    state = draft.state.steps[step.name]
    items = state.items or ()
    index = state.next_index
    while index < len(items) and not draft.state.draining:
        if step.max_parallel is not None and state.active >= step.max_parallel:
            return
        if state.outputs[index] is None and not (state.moved_on and index in state.moved_on):
            if not draft.spend():
                return
            try:
                start_item(draft, step, items[index], index)
            except ExpressionFailed as failure:
                if not step.collect:
                    raise
                collect(draft, step, index, ErrorInfo(failure.error_class, str(failure)))
        index += 1


def collect(draft: Draft, step: Step, index: int, error: ErrorInfo) -> None:
    """Under `failures: collect`: the item's failure is its outcome."""
    ends = ends_items(draft.state.steps[step.name])
    draft.emit(ev.ItemFailed(step.name, index, error.error_class, error.message, ends))


def check_output(draft: Draft, step: Step, output: Json) -> None:
    """Raises ExpressionFailed, class `invalid_output`, when the step's `output` refuses it."""
    if step.output_schema is not None:
        complaint = draft.expressions.complaint(step.output_schema, output)
        if complaint is not None:
            raise ExpressionFailed(
                f"the output of step {step.name} does not fit its schema: {complaint}",
                INVALID_OUTPUT,
            )


def compute(draft: Draft, step: Step, value: Value, scope: StepScope) -> Json:
    """An output that no agent gives. Raises ExpressionFailed: no value, too large, or of no use."""
    output = draft.expressions.render(value, scope)
    if len(output) > draft.payload_limit:
        raise draft.too_large(output, f"the value of step {step.name}")
    check_output(draft, step, output)
    return output


def ends_items(step: StepState) -> bool:
    """Whether the step has ended once one more item has."""
    return step.items is not None and step.done + 1 == len(step.items)


def step_ended(draft: Draft, name: str) -> None:
    """A step has just ended: start what waited for it."""
    start_steps(draft, draft.template.dependents.get(name, ()))


def fail_work(draft: Draft, step: Step, index: int | None, error: ErrorInfo) -> None:
    """A step's work, or that of one of its items, is given up for good."""
    if step.collect and index is not None:
        collect(draft, step, index, error)
        go_on(draft, step)
        return
    fail_step(draft, step.name, error)
    step_ended(draft, step.name)


def fail_step(draft: Draft, name: str, error: ErrorInfo) -> None:
    """A step failed for good: the session winds down, unless it is allowed to go on.

    One that already runs after a failure (`when`) does not stop what follows it.
    """
    draft.emit(ev.StepFailed(name, error.error_class, error.message))
    if draft.template.steps[name].continue_on_error or draft.state.stopping is not None:
        cancel_rest(draft, name, f"another item of step {name} failed")
    else:
        stop(draft, cancelled=False, error=error, grace=CANCEL_GRACE, actor="system:opscore")


def go_on(draft: Draft, step: Step) -> None:
    """Work of a step has ended: start what follows in it, or behind it."""
    state = draft.state.steps[step.name]
    if state.status in STEP_ENDED:
        step_ended(draft, step.name)
    elif draft.state.paused_at is not None:
        return
    elif step.repeat is not None:
        _start_iteration(draft, step)
    elif step.max_parallel is not None:
        materialise_step(draft, step.name)


def _start_iteration(draft: Draft, step: Step) -> None:
    try:
        step.kind.start(draft, step)
    except ExpressionFailed as failure:
        fail_work(draft, step, None, ErrorInfo(failure.error_class, str(failure)))


def stop(draft: Draft, *, cancelled: bool, error: ErrorInfo, grace: Micros, actor: str) -> None:
    """Let nothing new start; `ending.conclude` follows when nothing runs any more."""
    draft.emit(
        ev.SessionStopping(cancelled, error.error_class, error.message, draft.now + grace, actor)
    )
    for name in draft.waits():
        draft.emit(ev.StepCancelled(name, error.message))
    cancel_queued(draft, error.message)
    abandon(draft, draft.state.children.values(), error.message)


def abandon(draft: Draft, children: Iterable[ChildState], reason: str) -> None:
    """Cancel child sessions, within the budget of one commit; those not started yet end at once."""
    if draft.state.open_children == 0:
        return
    for child in children:
        if child.ended or child.abandoned:
            continue
        if not draft.spend():
            return
        if child.due is None:
            draft.emit(ev.ChildAbandoned(child.child_id, reason))
        else:
            draft.emit(ev.ChildEnded(child.child_id, None, CANCELLED, reason, was_due=child.due))


def cancel_queued(draft: Draft, reason: str) -> None:
    """Cancel what nobody has claimed, within the budget of one commit."""
    if draft.state.queued == 0:
        return
    for task in list(draft.state.tasks.values()):
        if task.status in TASK_QUEUED:
            if not draft.spend():
                return
            draft.emit(ev.TaskCancelled(task.task_id, running_attempt(task), reason))


def cancel_rest(draft: Draft, name: str, reason: str) -> None:
    """Cancel what is left of a step that failed, within the budget of one commit."""
    step = draft.state.steps[name]
    if step.active == 0:
        return
    children = [draft.state.children[child_id] for child_id in step.child_ids or ()]
    abandon(draft, children, reason)
    for task in [draft.state.tasks[task_id] for task_id in step.task_ids]:
        if task.status not in TASK_ENDED:
            if not draft.spend():
                return
            draft.emit(ev.TaskCancelled(task.task_id, running_attempt(task), reason))


def cancel_running(draft: Draft, tasks: Iterable[TaskState], reason: str) -> None:
    """Fence attempts that did not stop within their grace."""
    for task in tasks:
        draft.emit(ev.TaskCancelled(task.task_id, running_attempt(task), reason))


def advance(draft: Draft) -> None:
    """Go on with what one commit, or a pause, left undone."""
    state = draft.state
    if state.status in SESSION_ENDED or state.paused_at is not None or state.held:
        return
    if state.stopping is not None and state.draining:
        cancel_queued(draft, state.stopping.error.message)
        abandon(draft, state.children.values(), state.stopping.error.message)
        return
    for name in draft.template.order:
        _advance_step(draft, draft.template.steps[name])


def _advance_step(draft: Draft, step: Step) -> None:
    state = draft.state.steps[step.name]
    if state.status is StepStatus.FAILED:
        cancel_rest(draft, step.name, f"step {step.name} failed")
    elif state.status is not StepStatus.RUNNING:
        return
    elif state.items is not None:
        materialise_step(draft, step.name)
    elif step.repeat is not None and state.active == 0:
        _start_iteration(draft, step)


def materialise_step(draft: Draft, name: str) -> None:
    """Like `materialise`; a step whose input cannot be rendered fails, one that ended is left."""
    step = draft.template.steps[name]
    try:
        materialise(draft, step)
    except ExpressionFailed as failure:
        fail_step(draft, name, ErrorInfo(failure.error_class, str(failure)))
    if draft.state.steps[name].status in STEP_ENDED:
        step_ended(draft, name)
