"""How a session's graph moves on: which steps start, which tasks they make, when it ends.

A `Draft` collects the events of one decision and folds each at once, so that what follows in the
same decision sees it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opscore.core import events as ev
from opscore.core.evolve import evolve
from opscore.core.expressions import (
    ExpressionFailed,
    Expressions,
)
from opscore.core.scope import StepScope
from opscore.core.state import SessionState, TaskState, running_attempt
from opscore.core.template import Step, Template
from opscore.core.types import (
    CANCEL_GRACE,
    MAX_ITEMS_PER_COMMIT,
    SESSION_ENDED,
    STEP_ENDED,
    STEP_PASSED,
    TASK_QUEUED,
    ErrorInfo,
    Json,
    Micros,
    StepStatus,
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

    def queue_deadline(self, step: Step) -> Micros | None:
        """Until when a task that is available from now on may wait.

        A pause stands outside time: resuming adds all of it.
        """
        since = self.now if self.state.paused_at is None else self.state.paused_at
        return None if step.timeout.queue is None else since + step.timeout.queue

    def scope(self, step: Step, item: Json | None = None, index: int | None = None) -> StepScope:
        """What the expressions of `step` see."""
        return StepScope(self.template, self.state, self.expressions, step.ancestors, item, index)


def start_steps(draft: Draft, names: Iterable[str]) -> None:
    """Start those of `names` whose needs have passed, and whatever that lets start in turn."""
    work = list(names)
    while work:
        name = work.pop(0)
        if draft.state.stopping is not None:
            return
        step = draft.template.steps[name]
        if not _may_start(draft.state, step):
            continue
        try:
            _start_step(draft, step)
        except ExpressionFailed as failure:
            fail_step(draft, name, ErrorInfo(failure.error_class, str(failure)))
            return
        if draft.state.steps[name].status in STEP_ENDED:
            work.extend(draft.template.dependents.get(name, ()))


def _may_start(state: SessionState, step: Step) -> bool:
    if state.paused_at is not None or state.steps[step.name].status is not StepStatus.PENDING:
        return False
    for need in step.needs:  # noqa: SIM110 - a generator costs as much as the whole check
        if state.steps[need].status not in STEP_PASSED:
            return False
    return True


def _start_step(draft: Draft, step: Step) -> None:
    if step.condition is not None and not draft.expressions.condition(
        step.condition, draft.scope(step)
    ):
        draft.emit(ev.StepSkipped(step.name, f"the condition is false: {step.condition}"))
    else:
        step.kind.start(draft, step)


def expand(draft: Draft, step: Step) -> None:
    """Begin a `foreach`: note its items and start the first of them."""
    assert step.foreach is not None
    items = tuple(draft.expressions.items(step.foreach, draft.scope(step)))
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
    while index < len(items) and draft.state.stopping is None:
        if step.max_parallel is not None and state.active >= step.max_parallel:
            return
        if state.outputs[index] is None:
            if not draft.spend():
                return
            start_item(draft, step, items[index], index)
        index += 1


def step_ended(draft: Draft, name: str) -> None:
    """A step has just ended well: start what waited for it, and end the session if all have."""
    start_steps(draft, draft.template.dependents.get(name, ()))
    conclude(draft)


def fail_step(draft: Draft, name: str, error: ErrorInfo) -> None:
    """A step failed for good: the session winds down."""
    draft.emit(ev.StepFailed(name, error.error_class, error.message))
    stop(draft, cancelled=False, error=error, grace=CANCEL_GRACE, actor="system:opscore")


def stop(draft: Draft, *, cancelled: bool, error: ErrorInfo, grace: Micros, actor: str) -> None:
    """Let nothing new start, and end as soon as nothing runs any more."""
    draft.emit(
        ev.SessionStopping(cancelled, error.error_class, error.message, draft.now + grace, actor)
    )
    cancel_queued(draft, error.message)
    conclude(draft)


def cancel_queued(draft: Draft, reason: str) -> None:
    """Cancel what nobody has claimed, within the budget of one commit."""
    if draft.state.queued == 0:
        return
    for task in list(draft.state.tasks.values()):
        if task.status in TASK_QUEUED:
            if not draft.spend():
                return
            draft.emit(ev.TaskCancelled(task.task_id, running_attempt(task), reason))


def cancel_running(draft: Draft, tasks: Iterable[TaskState], reason: str) -> None:
    """Fence attempts that did not stop within their grace."""
    for task in tasks:
        draft.emit(ev.TaskCancelled(task.task_id, running_attempt(task), reason))


def conclude(draft: Draft) -> None:
    """End the session if it can end now."""
    state = draft.state
    if state.stopping is not None:
        if state.running == 0 and state.queued == 0:
            _end_stopped(draft)
    elif state.finished_at is None and _all_steps_ended(draft):
        _complete(draft)


def _all_steps_ended(draft: Draft) -> bool:
    steps = draft.state.steps
    for name in reversed(draft.template.order):
        step = steps.get(name)
        if step is None or step.status not in STEP_ENDED:
            return False
    return True


def _complete(draft: Draft) -> None:
    template, state = draft.template, draft.state
    output: Json = b"null"
    if template.output is not None:
        scope = StepScope(template, state, draft.expressions, frozenset(template.order))
        try:
            output = draft.expressions.render(template.output, scope)
        except ExpressionFailed as failure:
            _fail_session(draft, ErrorInfo(failure.error_class, f"output: {failure}"))
            return
    draft.emit(ev.SessionCompleted(output))


def _end_stopped(draft: Draft) -> None:
    stopping = draft.state.stopping
    assert stopping is not None
    if stopping.cancelled:
        draft.emit(ev.SessionCancelled(stopping.error.message))
    else:
        _fail_session(draft, stopping.error)


def _fail_session(draft: Draft, error: ErrorInfo) -> None:
    template, state = draft.template, draft.state
    given: Json | None = None
    if template.on_error is not None:
        scope = StepScope(
            template, state, draft.expressions, frozenset(template.order), error=error
        )
        try:
            given = draft.expressions.render(template.on_error.with_, scope)
        except ExpressionFailed as failure:
            error = ErrorInfo(error.error_class, f"{error.message} (and onError: {failure})")
    draft.emit(ev.SessionFailed(error.error_class, error.message, given))


def advance(draft: Draft) -> None:
    """Go on with what one commit could not hold."""
    state = draft.state
    if state.status in SESSION_ENDED or state.paused_at is not None:
        return
    if state.stopping is not None:
        cancel_queued(draft, state.stopping.error.message)
        conclude(draft)
        return
    for name in draft.template.order:
        step = state.steps[name]
        if step.status is StepStatus.RUNNING and step.items is not None:
            materialise_step(draft, name)


def materialise_step(draft: Draft, name: str) -> None:
    """Like `materialise`; a step whose input cannot be rendered fails."""
    try:
        materialise(draft, draft.template.steps[name])
    except ExpressionFailed as failure:
        fail_step(draft, name, ErrorInfo(failure.error_class, str(failure)))
