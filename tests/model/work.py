"""One piece of work of the model: a task or a child session, with its retries and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.model.cel import Failure, condition, render
from tests.model.world import ANYTHING, SECOND, Answer, Key, Micros, micros

if TYPE_CHECKING:
    from tests.model.session import Session, Step

LEASE = 15 * SECOND
UNDOING = -1
NEVER = {
    *("fatal", "invalid_input", "invalid_output", "rejected", "cancelled"),
    *("expression", "expression_limit", "payload_too_large"),
}
"""Classes that are not retried unless a policy names them."""


def begin(session: Session, step: Step) -> None:
    """Start a step of work, or its first items."""
    step.status = "running"
    total = _total(step.node)
    if total is not None:
        session.world.at(session.world.now + total, lambda: _out_of_time(session, step))
    if "foreach" not in step.node:
        start(session, step, None, 0)
        return
    step.items = session.items(step)
    _next_items(session, step)
    if not step.items:
        session.complete(step, [])


def _total(node: Mapping[str, Any]) -> Micros | None:
    given = node.get("timeout")
    if isinstance(given, dict):
        given = given.get("total")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    elif "workflow" not in node:
        return None
    return None if given is None else micros(given)  # pyright: ignore[reportUnknownArgumentType]


def _out_of_time(session: Session, step: Step) -> None:
    """All work of the step ends at once, and no fallback is tried."""
    if step.status == "running" and session.phase != "draining":
        for each in [*step.open]:
            each.drop()
        session.fail(step, "timeout")
        session.go_on(step)
        session.settle_down()


def go_on(session: Session, step: Step) -> None:
    """The next items, or the next iteration."""
    if step.items is not None:
        try:
            _next_items(session, step)
        except Failure as failure:
            session.fail(step, failure.error_class)
        if step.over:
            session.go_on(step)
    elif "repeat" in step.node:
        try:
            start(session, step, None, 0)
        except Failure as failure:
            lose(session, step, None, failure.error_class)


def _next_items(session: Session, step: Step) -> None:
    assert step.items is not None
    most = step.node.get("maxParallel", len(step.items))
    while step.begun < len(step.items) and session.phase != "draining" and len(step.open) < most:
        index = step.begun
        step.begun += 1
        try:
            start(session, step, index, 0)
        except Failure as failure:
            if not step.collects:
                raise
            error = {"class": failure.error_class, "message": ANYTHING}
            session.item_over(step, index, None, error)


def start(session: Session, step: Step, index: int | None, member: int, error: Any = None) -> None:
    """Begin a step's own work (`member` 0), or the member of its fallbacks of that number."""
    node = step.node
    chosen = node if member == 0 else node["fallback"][member - 1]
    more: dict[str, Any] = {} if error is None else {"error": error}
    if index is not None and step.items is not None:
        more |= {"item": step.items[index], "index": index}
    names = session.names(step, **more)
    if member and "value" in chosen:
        output = render(chosen["value"], names)
        check(step, output)
        done(session, step, index, output)
        return
    given = render(chosen.get("with", node.get("with", {})), names)
    Work(session, step, index, member, chosen, given).queue()


def undo(session: Session, step: Step) -> None:
    """Begin the compensation of a step."""
    how = step.node["compensate"]
    names = session.names(step, error=session.failure)
    names["steps"] = names["steps"] | {step.name: session.names()["steps"][step.name]}
    try:
        given = render(how.get("with", {}), names)
    except Failure as failure:
        step.not_undone = failure.error_class
        return
    Work(session, step, None, UNDOING, how, given).queue()


def done(session: Session, step: Step, index: int | None, output: Any) -> None:
    """Work has its output: the step's, one of its items', or one of its iterations'."""
    if index is not None:
        session.item_over(step, index, output)
    elif "repeat" in step.node:
        loop = step.node["repeat"]
        names = session.names(step, previous=output)
        step.output = output
        try:
            last = condition(loop["until"], names) or step.iteration + 1 >= loop["max"]
        except Failure as failure:
            if session.phase != "draining":
                lose(session, step, index, failure.error_class)
            return
        if last:
            session.complete(step, output)
        elif session.phase != "draining":
            step.iteration += 1
    else:
        session.complete(step, output)
    if session.phase != "draining":
        session.go_on(step)


def lose(
    session: Session, step: Step, index: int | None, error_class: str, message: Any = ANYTHING
) -> None:
    """Work is given up for good."""
    if step.collects and index is not None:
        session.item_over(step, index, None, {"class": error_class, "message": message})
    else:
        session.fail(step, error_class, message)
    session.go_on(step)


def give_up(
    session: Session,
    step: Step,
    index: int | None,
    member: int,
    error_class: str,
    message: Any = ANYTHING,
) -> None:
    """Work, or what was waited for, will not come: the next fallback follows, if there is one."""
    if member >= len(step.node.get("fallback", [])):
        lose(session, step, index, error_class, message)
        return
    step.status = "running"
    try:
        start(session, step, index, member + 1, {"class": error_class, "message": message})
    except Failure as failure:
        lose(session, step, index, failure.error_class)


def check(step: Step, output: Any) -> None:
    """Hold an output against the step's schema."""
    if not fits(step.node.get("output", {}), output):
        raise Failure("invalid_output")


def fits(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value fits a JSON Schema: of its keywords, two are known here."""
    kinds: dict[Any, type] = {"integer": int, "object": dict}
    if not isinstance(value, kinds.get(schema.get("type"), object)):
        return False
    if schema.get("type") == "integer" and isinstance(value, bool):
        return False
    missing = {*schema.get("required", ())} - value.keys() if isinstance(value, dict) else None
    return not missing


class Work:
    """Open until it has an output or is given up; each member of a fallback chain is a new one."""

    def __init__(
        self,
        session: Session,
        step: Step,
        index: int | None,
        member: int,
        chosen: Mapping[str, Any],
        given: Any,
    ) -> None:
        self.session, self.step, self.index, self.member = session, step, index, member
        self.chosen, self.given = chosen, given
        self.world = session.world
        self.failures = 0
        self.attempt = 0
        self.state = ""
        self.turn = 0  # what is planned for an earlier turn does not happen
        self.dropped = False
        self.answer: Answer | None = None
        self.child: Session | None = None
        self.ordinal = 0
        step.open.append(self)

    def _number(self) -> None:
        place = (self.step.name, self.index, self.member)
        self.ordinal = self.session.ordinals.get(place, 0)
        self.session.ordinals[place] = self.ordinal + 1

    @property
    def _target(self) -> str:
        own = self.step.node if self.member > 0 and "agent" not in self.chosen else self.chosen
        return self.chosen.get("agent") or self.chosen.get("capability") or own["capability"]

    def queue(self) -> None:
        """It may begin from now on."""
        self._turn("queued")
        if "workflow" in self.chosen:
            self._number()
            self.state = "child"
            path = f"{self.session.path}/{self.step.name}.{self.index}.{self.member}.{self.ordinal}"
            named = self.chosen["workflow"]
            name = named if isinstance(named, str) else named["name"]
            self.child = self.session.start_other(name, path, self.given, (self.session, self))
            return
        if self.attempt == 0:
            self._number()
        bounds = self._timeout
        if "queue" in bounds:
            self._plan(bounds["queue"], lambda: self._give_up("timeout"))
        if self._target not in self.world.play.nobody:
            turn = self.turn
            self.world.soon(lambda: self._claim() if turn == self.turn else None)

    def _turn(self, state: str) -> None:
        self.state = state
        self.turn += 1

    def _plan(self, after: Micros, action: Any) -> None:
        turn = self.turn

        def act() -> None:
            if turn == self.turn:
                action()
                self.session.settle_down()

        self.world.at(self.world.now + after, act)

    @property
    def _timeout(self) -> dict[str, Micros]:
        own = (self.chosen if self.member == UNDOING else self.step.node).get("timeout", {})
        if self.member != UNDOING and not {"capability", "agent"} & self.step.node.keys():
            return {}  # it is the step's whole time
        given: dict[str, str] = {"attempt": own} if isinstance(own, str) else own
        return {key: micros(text) for key, text in given.items()}

    def _claim(self) -> None:
        self._turn("running")
        self.attempt += 1
        key = Key(
            *(self.session.path, self.step.name, self.index, self.member),
            *(self.ordinal, self.attempt),
        )
        self.world.seen.attempts[key] = (self.world.now, self.given)
        self.answer = answer = self.world.answer(key)
        bounds = self._timeout
        if "attempt" in bounds:
            self._plan(bounds["attempt"], lambda: self._failed("timeout"))
        if answer.silent:
            self._plan(bounds.get("heartbeat", LEASE), lambda: self._failed("agent_lost"))
        elif answer.error is None:
            self._plan(answer.after, lambda: self._completed(answer.output))
        else:
            message, error = f"{answer.error} it is", answer.error
            self._plan(answer.after, lambda: self._failed(error, message, answer.retry_after))

    # -- how it ends ------------------------------------------------------------------------

    def _close(self) -> None:
        self._turn("over")
        self.step.open.remove(self)

    def _completed(self, output: Any) -> None:
        if self.member == UNDOING:
            self._close()
            self.step.status = "compensated"
            return
        try:
            check(self.step, output)
        except Failure as failure:
            self._failed(failure.error_class)
            return
        self._close()
        done(self.session, self.step, self.index, output)

    def _failed(self, error: str, message: Any = ANYTHING, retry_after: int | None = None) -> None:
        self.failures += 1
        delay = None
        if self.session.phase != "draining":
            delay = self._retried(error)
        if delay is None:
            self._give_up(error, message)
            return
        self._turn("delayed")
        self._plan(max(delay, (retry_after or 0) * SECOND), self.queue)

    def _retried(self, error: str) -> Micros | None:
        """The delay before the next attempt, or None when there is none."""
        given = (self.chosen if self.member == UNDOING else self.step.node).get("retry", {})
        policy: dict[str, Any] = {"maxAttempts": given} if isinstance(given, int) else {**given}
        usual = 10 if self.member == UNDOING else 1 if self.child is not None else 3
        policy = {"maxAttempts": usual, "backoff": "exponential", "initialDelay": "1s", **policy}
        own = policy.get("per", {}).get(error)
        if own is not None:
            policy |= own if isinstance(own, dict) else {"maxAttempts": own}
        named = policy.get("errors")
        wanted = error in named if named is not None else error not in NEVER
        if self.failures >= policy["maxAttempts"] or not (wanted or own is not None):
            return None
        factor = {"constant": 1, "linear": self.failures, "exponential": 2 ** (self.failures - 1)}
        longest = micros(policy.get("maxDelay", "1m"))
        return min(micros(policy["initialDelay"]) * factor[policy["backoff"]], longest)

    def _give_up(self, error: str, message: Any = ANYTHING) -> None:
        self._close()
        if self.member == UNDOING:
            self.step.not_undone = error
            return
        if self.session.phase != "draining":
            give_up(self.session, self.step, self.index, self.member, error, message)

    def child_over(self, output: Any, error: Any) -> None:
        """Its child session has ended; `error` is (class, message)."""
        if self.state != "child":
            return
        if self.dropped and self.session.phase != "draining":
            self._close()
        elif error is None:
            self._completed(output)
        else:
            self._failed(*error)
        self.session.settle_down()

    # -- when it is not wanted any more -------------------------------------------------------

    def told(self) -> None:
        """The session stops: what does not run ends now, and what runs should."""
        if self.state == "child":
            self._abandon()
        elif self.state == "running":
            assert self.answer is not None
            if not self.answer.deaf and not self.answer.silent:
                turn = self.turn
                self.world.soon(lambda: self._stopped() if turn == self.turn else None)
        else:
            self._close()

    def _stopped(self) -> None:
        self._failed("cancelled")
        self.session.settle_down()

    def drop(self) -> None:
        """Its step has failed while the session goes on: it ends at once."""
        if self.state == "child":
            self._abandon()
        else:
            self._close()

    def _abandon(self) -> None:
        if not self.dropped:
            self.dropped = True
            child = self.child
            assert child is not None
            self.world.soon(child.cancel)

    def fence(self) -> None:
        """The grace is over."""
        if self.state == "running":
            self._close()
