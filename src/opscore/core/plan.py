"""What a template would do, before it does anything: order, width, worst cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from opscore.core.durations import show_duration
from opscore.core.interpolation import shown
from opscore.core.kinds.kind import Worst
from opscore.core.limits import CANCEL_OLDEST, QUEUE, REJECT
from opscore.core.match_rules import words_of
from opscore.core.template import Step, Target, Template
from opscore.core.trees import is_list
from opscore.core.types import Micros


@dataclass(frozen=True, slots=True)
class Given:
    """What the input tells of a step: the number of its items, and whether it runs at all."""

    items: int | None = None
    runs: bool | None = None


UNTOLD = Given()
WHEN_FULL = {
    QUEUE: "one more waits",
    REJECT: "one more is rejected",
    CANCEL_OLDEST: "for one more the oldest is cancelled",
}


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step. `wave`: how many steps at least must end before it, one after another.

    `attempts` and `time` are the worst case over all items, retries and fallbacks; None when there
    is no bound, and `why` says why.
    """

    name: str
    kind: str
    target: str
    needs: tuple[str, ...]
    wave: int
    condition: str | None
    runs: bool | None
    items: int | None
    max_parallel: int | None
    attempts: int | None
    time: Micros | None
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A template's steps in an order in which they could run, and the whole's worst case.

    `waves` are the steps that may run side by side; `path` is the chain of steps that takes
    longest. `limits`: how many of its sessions there may be, in words. `bounded_by`: the session's own total timeout, when that is what bounds `time`.
    """

    workflow: str
    version: str
    steps: tuple[PlannedStep, ...]
    waves: tuple[tuple[str, ...], ...]
    attempts: int | None
    time: Micros | None
    path: tuple[str, ...]
    limits: tuple[str, ...]
    bounded_by: Micros | None


def plan(template: Template, given: Mapping[str, Given]) -> Plan:
    """Plan a template; `given` is what the input tells of its steps, by name."""
    waves: dict[str, int] = {}
    steps: list[PlannedStep] = []
    for name in template.order:
        step = template.steps[name]
        waves[name] = max((waves[need] + 1 for need in step.needs), default=0)
        steps.append(_planned(step, waves[name], given.get(name, UNTOLD)))
    time, path = _longest(steps)
    total = template.timeout.total
    binds = total is not None and (time is None or total < time)
    return Plan(
        workflow=template.name,
        version=template.version,
        steps=tuple(steps),
        waves=tuple(
            tuple(name for name in template.order if waves[name] == wave)
            for wave in range(max(waves.values(), default=-1) + 1)
        ),
        attempts=_sum([step.attempts for step in steps]),
        time=total if binds else time,
        path=path,
        limits=tuple(_limits(template)),
        bounded_by=total if binds else None,
    )


def _limits(template: Template) -> Iterator[str]:
    concurrency, rate = template.concurrency, template.rate
    if concurrency is not None:
        key, then = shown(concurrency.key.tree), WHEN_FULL[concurrency.on_full]
        yield f"at most {concurrency.limit} sessions at once under the key {key}; {then}"
    if rate is not None:
        often = f"{rate.limit} sessions per {show_duration(rate.per)}"
        yield f"at most {often} under the key {shown(rate.key.tree)}"


def _planned(step: Step, wave: int, given: Given) -> PlannedStep:
    worst = Worst() if given.runs is False else step.kind.worst(step)
    why = list(worst.why)
    items = count = rounds = None
    if step.foreach is None:
        count = rounds = 1 if step.repeat is None else step.repeat.max
    else:
        items = count = len(step.foreach.tree) if is_list(step.foreach.tree) else given.items
        rounds = _rounds(count, step.max_parallel)
        if count is None and worst != Worst():
            why.append("the number of items is only known when it runs")
    time = _times(worst.time, rounds)
    # Of a step that waits, it is the time for which it waits, and no bound of its fallbacks.
    total = step.timeout.total if step.kind.start_item is not None else None
    if total is not None and (time is None or total < time):
        time, why = total, []
    return PlannedStep(
        name=step.name,
        kind=step.kind.name,
        target=_target(step),
        needs=step.needs,
        wave=wave,
        condition=step.condition,
        runs=given.runs,
        items=items,
        max_parallel=step.max_parallel,
        attempts=_times(worst.attempts, count),
        time=time,
        why=tuple(why),
    )


def _target(step: Step) -> str:
    work = step.work
    if not isinstance(work, Target):
        return ""
    asked = "" if step.match is None else words_of(step.match)
    return f"{work.capability or work.agent or ''}{f', {asked}' if asked else ''}"


def _rounds(count: int | None, max_parallel: int | None) -> int | None:
    """How often, one after another, as many items run as may run side by side."""
    if count is None:
        return None
    return -(-count // max_parallel) if max_parallel else min(count, 1)


def _times(one: int | None, count: int | None) -> int | None:
    if one == 0 or count == 0:
        return 0
    return None if one is None or count is None else one * count


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [each for each in numbers if each is not None]
    return sum(known) if len(known) == len(numbers) else None


def _longest(steps: Sequence[PlannedStep]) -> tuple[Micros | None, tuple[str, ...]]:
    """The longest way through the graph; without a bound when a step on it has none."""
    best: dict[str, tuple[float, tuple[str, ...]]] = {}
    for step in steps:
        before = max((best[need] for need in step.needs), default=(0.0, ()), key=_length)
        own = float("inf") if step.time is None else float(step.time)
        best[step.name] = (before[0] + own, (*before[1], step.name))
    longest, path = max(best.values(), default=(0.0, ()), key=_length)
    return (None if longest == float("inf") else round(longest)), path


def _length(way: tuple[float, tuple[str, ...]]) -> float:
    return way[0]
