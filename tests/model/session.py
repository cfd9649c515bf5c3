"""One session of the model: which steps start, what their ends lead to, and how the whole ends.

Written from docs/language.md alone. It knows nothing of commits, queues, leases or journals: an
attempt begins the moment it may, and everything follows at once. `work` has the single pieces of
work, `waits` the steps that wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.model import waits, work
from tests.model.cel import Failure, condition, render
from tests.model.world import ANYTHING, SECOND, Ended, Micros, World, micros

GRACE = 10 * SECOND
OVER = ("completed", "failed", "skipped", "cancelled", "compensated")


@dataclass
class Step:
    """Where a step stands. `outcomes`: by item, (its output, None) or (None, its error)."""

    name: str
    node: Mapping[str, Any]
    status: str = "pending"
    output: Any = None
    error: dict[str, Any] | None = None
    items: list[Any] | None = None
    outcomes: dict[int, tuple[Any, Any]] = field(default_factory=dict[int, tuple[Any, Any]])
    begun: int = 0
    iteration: int = 0
    late: bool = False
    completed: int = 0
    not_undone: Any = None
    waiting: waits.Waiting | None = None
    open: list[work.Work] = field(default_factory=list["work.Work"])

    @property
    def over(self) -> bool:
        return self.status in OVER

    @property
    def collects(self) -> bool:
        return self.node.get("failures") == "collect"


class Session:
    """`parent`: the session and the piece of its work that this one is."""

    def __init__(
        self,
        world: World,
        tree: Mapping[str, Any],
        path: str,
        given: Any,
        parent: tuple[Session, work.Work] | None = None,
    ) -> None:
        self.world = world
        self.tree = tree
        self.path = path
        self.input = given
        self.parent = parent
        self.steps = {name: Step(name, node) for name, node in tree["steps"].items()}
        self.needs = {name: _names(node.get("needs", [])) for name, node in tree["steps"].items()}
        self.order = _in_order(self.needs)
        self.phase = "open"
        self.cancelled = False
        self.failure: dict[str, Any] | None = None
        self.grace_until: Micros = 0
        self.begun = False
        self.ended = ""
        self.inbox = waits.Inbox()
        self._completions = 0
        self._todo: deque[str] = deque()
        self._beginning = False
        self.ordinals: dict[tuple[str, int | None, int], int] = {}

    # -- what expressions see ---------------------------------------------------------------

    def names(self, step: Step | None = None, **more: Any) -> dict[str, Any]:
        """The names in scope of a step; of the whole session when there is none."""
        seen = self.order if step is None else _ancestors(self.needs, step.name)
        found: dict[str, Any] = {
            "input": self.input,
            "env": self.world.play.env,
            "steps": {name: self._view(self.steps[name]) for name in seen},
        }
        if step is not None:
            if "repeat" in step.node:
                found |= {"index": step.iteration, "previous": step.output}
            if step.node.get("when", "completed") != "completed":
                found["error"] = self._error_before(step)
        return found | more

    def _view(self, step: Step) -> dict[str, Any]:
        output = step.output if step.status in ("completed", "compensated") else None
        return {"status": step.status, "output": output, "error": step.error}

    def _error_before(self, step: Step) -> Any:
        failed = [self.steps[name] for name in self.needs[step.name]]
        errors = [each.error for each in failed if each.status == "failed"]
        return errors[0] if errors else self.failure

    # -- starting ---------------------------------------------------------------------------

    def start(self) -> None:
        if self.parent is not None and self.parent[1].dropped:
            self.cancel()
        if self.ended:
            return
        if not work.fits(self.tree.get("input", {}), self.input):
            self.ended = "never begun"
            self._tell_parent(None, ("invalid_input", ANYTHING))
            return
        self.begun = True
        if "timeout" in self.tree:
            self.world.at(self.world.now + micros(self.tree["timeout"]), self._time_is_up)
        self.begin([name for name in self.order if not self.needs[name]])
        self.settle_down()

    def begin(self, names: Iterable[str]) -> None:
        """Start those whose needs have ended; what that lets start queues up behind them."""
        self._todo.extend(names)
        if self._beginning:
            return
        self._beginning, todo = True, self._todo
        while todo and self.phase != "draining":
            step = self.steps[todo.popleft()]
            if step.status == "pending" and all(self.steps[n].over for n in self.needs[step.name]):
                try:
                    self._begin(step)
                except Failure as failure:
                    self.fail(step, failure.error_class)
                if step.over:
                    todo.extend(self._followers(step))
        todo.clear()
        self._beginning = False

    def _followers(self, step: Step) -> list[str]:
        return [name for name, needs in self.needs.items() if step.name in needs]

    def _begin(self, step: Step) -> None:
        node, step.late = step.node, self.phase != "open"
        needs = [self.steps[name].status for name in self.needs[step.name]]
        if (node.get("when") == "failed" and not {"failed", "cancelled"} & {*needs}) or (
            "if" in node and not condition(node["if"], self.names(step))
        ):
            step.status = "skipped"
        elif "value" in node:
            self._compute(step)
        elif "capability" in node or "agent" in node or "workflow" in node:
            work.begin(self, step)
        else:
            waits.begin(self, step)

    def _compute(self, step: Step) -> None:
        value, items = step.node["value"], [None]
        if "foreach" in step.node:
            items = self.items(step)
        outputs: list[Any] = []
        for index, item in enumerate(items):
            more = {"item": item, "index": index} if "foreach" in step.node else {}
            try:
                output = render(value, self.names(step, **more))
                work.check(step, output)
                outputs.append(
                    {"status": "completed", "output": output} if step.collects else output
                )
            except Failure as failure:
                if not step.collects:
                    raise
                outputs.append(_failed(failure.error_class, ANYTHING))
        self.complete(step, outputs if "foreach" in step.node else outputs[0])

    def items(self, step: Step) -> list[Any]:
        """What a `foreach` goes over."""
        given = step.node["foreach"]
        found = render(given, self.names(step))
        if isinstance(found, dict):
            return [{"key": key, "value": found[key]} for key in sorted(found)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        if not isinstance(found, list):
            raise Failure("expression")
        return found  # pyright: ignore[reportUnknownVariableType]

    # -- ends of steps ----------------------------------------------------------------------

    def complete(self, step: Step, output: Any) -> None:
        step.status, step.output = "completed", output
        self._completions += 1
        step.completed = self._completions

    def fail(self, step: Step, error_class: str, message: Any = ANYTHING) -> None:
        """For good: the session goes on when it may, or when it is failing already."""
        step.status, step.error = "failed", {"class": error_class, "message": message}
        if step.node.get("continueOnError") or self.phase != "open":
            for each in [*step.open]:
                each.drop()
        else:
            self.stop(step.error, cancelled=False)

    def item_over(self, step: Step, index: int, output: Any, error: Any = None) -> None:
        """An item of a `foreach` has its outcome."""
        assert step.items is not None
        step.outcomes[index] = (output, error)
        if len(step.outcomes) == len(step.items):
            ordered = [step.outcomes[each] for each in range(len(step.items))]
            self.complete(step, [_outcome(*each) if step.collects else each[0] for each in ordered])

    def go_on(self, step: Step) -> None:
        """Something of a step has ended: start what follows in it, or behind it."""
        if step.over:
            self.begin(self._followers(step))
        elif self.phase != "draining":
            work.go_on(self, step)

    # -- winding down -----------------------------------------------------------------------

    def stop(self, error: dict[str, Any], *, cancelled: bool) -> None:
        """Nothing new starts, what is queued is cancelled, what runs is told."""
        self.phase, self.failure, self.cancelled = "draining", error, cancelled
        self.grace_until = self.world.now + GRACE
        self.world.at(self.grace_until, self._fence)
        for step in self.steps.values():
            if step.status == "waiting":
                step.status = "cancelled"
            for each in [*step.open]:
                each.told()

    def _fence(self) -> None:
        if self.phase == "draining" and self.grace_until <= self.world.now:
            for step in self.steps.values():
                for each in [*step.open]:
                    each.fence()
            self.settle_down()

    def _time_is_up(self) -> None:
        if not self.ended and self.phase == "open":
            self.stop({"class": "timeout", "message": ANYTHING}, cancelled=False)
            self.settle_down()

    def cancel(self) -> bool:
        """Cancel it. False when it has ended, or undoes what it did and ends by itself."""
        if self.ended or (self.phase == "undoing" and not self.cancelled):
            return False
        error = {"class": "cancelled", "message": ANYTHING}
        if not self.begun:
            self.ended = "never begun"
            self._tell_parent(None, ("cancelled", ANYTHING))
        elif not self.cancelled:
            self.stop(error, cancelled=True)
            self.settle_down()
        return True

    def settle_down(self) -> None:
        """End the session, or go on to its next phase, when nothing is under way any more."""
        while not self.ended and not any(step.open for step in self.steps.values()):
            if self.phase == "open":
                if not all(step.over for step in self.steps.values()):
                    return
                self._give_output()
            elif self.phase == "draining" and not self.cancelled:
                self._handle()
            elif self.phase == "handling" and not all(s.over for s in self.steps.values()):
                return
            elif not self._undo_next():
                self._end()

    def _give_output(self) -> None:
        try:
            output = render(self.tree.get("output"), self.names())
        except Failure as failure:
            self.phase = "handling"
            self.failure = {"class": failure.error_class, "message": ANYTHING}
        else:
            self._over("completed", output, None)

    def _handle(self) -> None:
        """Skip what cannot start any more; start what is there for a failure."""
        self.phase = "handling"
        self._cancel_open_steps()
        late = [name for name in self.order if self.steps[name].status == "pending"]
        for name in late:
            if self.steps[name].node.get("when", "completed") == "completed":
                self.steps[name].status, self.steps[name].late = "skipped", True
        self.begin(late)

    def _cancel_open_steps(self) -> None:
        for step in self.steps.values():
            if step.status in ("running", "waiting"):
                step.status = "cancelled"

    def _undo_next(self) -> bool:
        left = [
            step
            for step in self.steps.values()
            if "compensate" in step.node and step.status == "completed" and not step.not_undone
        ]
        if not left:
            return False
        self.phase = "undoing"
        self._cancel_open_steps()
        work.undo(self, max(left, key=lambda step: step.completed))
        return True

    def _end(self) -> None:
        assert self.failure is not None
        self._cancel_open_steps()
        error = (self.failure["class"], self._told())
        if self.cancelled:
            for step in self.steps.values():
                step.status = "cancelled" if step.status == "pending" else step.status
            self._over("cancelled", None, ("cancelled", error[1]))
            return
        self._over("error", None, error)
        after = self.tree.get("onError")
        if after is not None:
            try:
                told = {"class": error[0], "message": error[1]}
                given = render(after.get("with", {}), self.names(error=told))
            except Failure:
                return
            self.start_other(after["workflow"], f"{self.path}!", given, None)

    def _told(self) -> Any:
        """The first failure's message, when nothing failed after it."""
        assert self.failure is not None
        after = [s for s in self.steps.values() if s.not_undone]
        after += [
            s
            for s in self.steps.values()
            if s.late and s.error and not s.node.get("continueOnError")
        ]
        return ANYTHING if after else self.failure["message"]

    def start_other(
        self, name: str, path: str, given: Any, parent: tuple[Session, work.Work] | None
    ) -> Session:
        """Start a session of another template."""
        tree = next(each for each in self.world.play.templates if each["name"] == name)
        session = Session(self.world, tree, path, given, parent)
        self.world.soon(session.start)
        return session

    def _over(self, status: str, output: Any, error: Any) -> None:
        self.ended = status
        self.world.seen.sessions[self.path] = Ended(
            status, {n: s.status for n, s in self.steps.items()}, output, error, self.world.now
        )
        self._tell_parent(output, error)

    def _tell_parent(self, output: Any, error: Any) -> None:
        if self.parent is not None:
            _, piece = self.parent
            self.world.soon(lambda: piece.child_over(output, error))


def _outcome(output: Any, error: Any) -> dict[str, Any]:
    if error is None:
        return {"status": "completed", "output": output}
    return {"status": "failed", "error": error}


def _failed(error_class: str, message: Any) -> dict[str, Any]:
    return _outcome(None, {"class": error_class, "message": message})


def _names(needs: Any) -> list[str]:
    return [needs] if isinstance(needs, str) else needs


def _in_order(needs: Mapping[str, list[str]]) -> list[str]:
    """Steps without open needs first, as they are written; then those that these set free."""
    missing = {name: len(of) for name, of in needs.items()}
    order = [name for name, of in missing.items() if of == 0]
    for name in order:
        for other, of in needs.items():
            if name in of:
                missing[other] -= 1
                if missing[other] == 0:
                    order.append(other)
    return order


def _ancestors(needs: Mapping[str, list[str]], name: str) -> set[str]:
    return {*needs[name]}.union(*(_ancestors(needs, each) for each in needs[name]))
