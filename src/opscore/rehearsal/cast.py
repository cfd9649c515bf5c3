"""Mocked agents: one instance for each agent that a template could ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from opscore.core.expressions import ExpressionFailed, SessionView
from opscore.core.trees import is_list, is_map
from opscore.core.types import COMPENSATION, ErrorInfo, Json, Micros
from opscore.engine.records import ClaimedAttempt, SettlementReport, TaskRecord
from opscore.expressions import CelExpressions
from opscore.rehearsal.mocks import Answer, Case
from opscore.rehearsal.people import Plan

CLASS_OF_CANCELLED = "cancelled"
UNDOING = ".compensate"
"""Ends the name of a step's compensation among the mocks."""
_DATA = frozenset({"with", "value", "parameters", "output", "input"})
"""Keys of a step below which everything is the user's own."""


@dataclass(frozen=True, slots=True)
class InputScope:
    """A mocked output sees nothing but its task's input."""

    input: Json
    item: None = None
    index: None = None
    error: None = None
    previous: None = None
    agent: None = None
    ancestors: frozenset[str] = frozenset()

    @property
    def session(self) -> SessionView:
        """Not in scope; the check of the mocks file has seen to that."""
        raise ExpressionFailed("'session' is not known here")

    def step(self, name: str) -> None:
        """No step is in scope."""
        return None  # noqa: RET501 - the Protocol's answer for a step that is not there


class Unmocked(Exception):
    """A task came for which the mocks file has no answer."""


class Script:
    """Which answer comes next. Remembers what was asked."""

    def __init__(self, case: Case, workflow: str) -> None:
        self._case = case
        self._workflow = workflow
        self._told: Counter[str] = Counter()
        self._expressions = CelExpressions()
        self.attempts: Counter[str] = Counter()
        self.inputs: dict[str, list[object]] = {}

    def answer(self, task: TaskRecord, workflow: str) -> Answer:
        """The next answer for an attempt of the task. Raises `Unmocked`."""
        name = task.step if workflow == self._workflow else f"{workflow}/{task.step}"
        if task.member == COMPENSATION:
            name += UNDOING
        self.attempts[name] += 1
        if task.attempt == 1:
            self.inputs.setdefault(name, []).append(msgspec.json.decode(task.input))
        places = [(name, self._case.steps), (task.capability or "", self._case.capabilities)]
        if task.index is not None:
            places.insert(0, (f"{name}[{task.index}]", self._case.steps))
        for key, answers in places:
            if key in answers:
                number = self._told[key]
                self._told[key] += 1
                return answers[key][min(number, len(answers[key]) - 1)]
        asked = f"capability '{task.capability}'" if task.capability else f"agent '{task.agent}'"
        raise Unmocked(f"step '{name}' ran ({asked}), and the mocks have no answer for it")

    def report(self, attempt: ClaimedAttempt, answer: Answer) -> SettlementReport:
        """The answer as an agent would report it."""
        if answer.output is None:
            error = answer.error
            return SettlementReport(attempt.task_id, attempt.attempt, "failed", error=error)
        output = self._expressions.render(answer.output, InputScope(attempt.input))
        encoded = msgspec.Raw(bytes(output))
        return SettlementReport(attempt.task_id, attempt.attempt, "completed", encoded)


class Actor:
    """The one instance of a mocked agent; hears what a real one would."""

    local = False

    def __init__(
        self,
        choose: Callable[[ClaimedAttempt], Awaitable[Answer]],
        script: Script,
        settle: Callable[[Sequence[SettlementReport]], Awaitable[object]],
        plan: Plan,
    ) -> None:
        self._choose = choose
        self._script = script
        self._settle = settle
        self._plan = plan
        self._holding: dict[tuple[str, int], Micros | None] = {}

    @property
    def holding(self) -> list[tuple[str, int]]:
        """The attempts for which it gives signs of life."""
        return sorted(self._holding)

    def lease(self, usual: Micros) -> Micros:
        """The shortest lease of what it holds; `usual` is that of steps that set none."""
        return min((own or usual for own in self._holding.values()), default=usual)

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """Play them all."""
        for attempt in attempts:
            self._holding[attempt.task_id, attempt.attempt] = attempt.heartbeat
            self._plan(0, lambda attempt=attempt: self._play(attempt))

    async def _play(self, attempt: ClaimedAttempt) -> None:
        answer = await self._choose(attempt)
        key = (attempt.task_id, attempt.attempt)
        if answer.silent:
            self._holding.pop(key, None)
            return
        report = self._script.report(attempt, answer)
        self._plan(answer.after, lambda: self._say(key, report))

    async def _say(self, key: tuple[str, int], report: SettlementReport) -> None:
        if key in self._holding:
            del self._holding[key]
            await self._settle([report])

    def cancel(
        self, attempts: Sequence[tuple[str, int]], reason: str, grace_seconds: float
    ) -> None:
        """Stop, as a well-behaved agent does."""
        for key in attempts:
            if key in self._holding:
                error = ErrorInfo(CLASS_OF_CANCELLED, reason)
                report = SettlementReport(*key, "failed", error=error)
                self._plan(0, lambda key=key, report=report: self._say(key, report))

    def drain(self, reason: str) -> None:
        """Nobody drains a mocked agent."""

    def close(self, reason: str) -> None:
        """The rehearsal is over."""
        self._holding.clear()


def _nodes(sources: Sequence[Json]) -> Iterator[dict[str, object]]:
    """Every mapping of the templates' steps that is not the user's own data."""
    todo: list[object] = []
    for source in sources:
        tree = msgspec.json.decode(source)
        todo += [*tree.get("steps", {}).values(), *tree.get("tasks", [])]
    while todo:
        node = todo.pop()
        if is_list(node):
            todo += node
        elif is_map(node):
            yield node
            todo += [each for key, each in node.items() if key not in _DATA]


def labelled(sources: Sequence[Json]) -> list[tuple[str, dict[str, str]]]:
    """The capabilities for which templates ask for agents with labels, where these are written."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for node in _nodes(sources):
        capability, match = node.get("capability"), node.get("match")
        labels = match.get("labels") if is_map(match) else None
        if isinstance(capability, str) and is_map(labels) and "${{" not in str(labels):
            texts = {name: str(text) for name, text in labels.items()}
            found[f"{capability} {sorted(texts.items())}"] = capability, texts
    return list(found.values())


def asked_for(sources: Sequence[Json]) -> tuple[set[str], set[str]]:
    """The capabilities and the agents' names that templates mention anywhere in their steps."""
    found: dict[str, set[str]] = {"capability": set(), "agentCapability": set(), "agent": set()}
    for node in _nodes(sources):
        for key, each in node.items():
            if key in found and isinstance(each, str):
                found[key].add(each)
    return found["capability"] | found["agentCapability"], found["agent"]
