"""Expressions: how many evaluations a second, for the forms that templates use most.

No store is involved. The value is that of the middle one, a condition over fields; the others are
figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from opscore.api.tuning import tune_interpreter
from opscore.bench.common import figure, figures, percentile
from opscore.core.expressions import SessionView, StepView
from opscore.core.interpolation import read_value
from opscore.core.types import ErrorInfo, Json, StepStatus
from opscore.expressions import CelExpressions

SECONDS, QUICK_SECONDS = 2.0, 0.05
LIST_LENGTH = 300
AT_ONCE = 50

INPUT = msgspec.Raw(msgspec.json.encode({"path": "/srv/app", "limit": 10, "deep": {"on": True}}))
FILES = msgspec.Raw(
    msgspec.json.encode([{"file": f"f{n}.py", "complexity": n % 20} for n in range(LIST_LENGTH)])
)


@dataclass(frozen=True, slots=True)
class _Scope:
    """A session with an input and one finished step, `scan`."""

    input: Json = field(default_factory=lambda: INPUT)
    item: Json | None = None
    index: int | None = None
    error: ErrorInfo | None = None
    previous: Json | None = None
    agent: None = None
    ancestors: frozenset[str] = frozenset({"scan"})

    @property
    def session(self) -> SessionView:
        return SessionView("ses_bench", "bench", "1", 50, {}, b"{}", {})

    def step(self, name: str) -> StepView | None:
        return StepView(StepStatus.COMPLETED, FILES) if name == "scan" else None


CONDITION = "input.limit > 5 && input.deep.on && input.path.startsWith('/srv')"
RENDERED = {
    "a reference passed on": "${{ steps.scan.output }}",
    "text with two expressions": "${{ input.path }} of ${{ input.limit }}",
    f"a filter over {LIST_LENGTH} items": "${{ steps.scan.output.filter(f, f.complexity > 10) }}",
}


async def main(quick: bool) -> dict[str, Any]:
    """Measure; `quick` shows only that it works."""
    tune_interpreter()
    seconds = QUICK_SECONDS if quick else SECONDS
    cel, scope = CelExpressions(), _Scope()
    values = {name: read_value(text)[0] for name, text in RENDERED.items()}
    rate, times = _measure(lambda: cel.condition(CONDITION, scope), seconds)
    rates = {
        name: _measure(lambda value=value: cel.render(value, scope), seconds)[0]
        for name, value in values.items()
    }
    fresh = iter(range(10**9))
    compiled = _measure(lambda: cel.condition(f"{next(fresh)} >= 0", scope), seconds)
    return {
        **figures(
            "expressions",
            "evaluations/s",
            rate,
            p50Ms=round(percentile(times, 0.5) * 1000, 4),
            p99Ms=round(percentile(times, 0.99) * 1000, 4),
            settings={"seconds": seconds, "items": LIST_LENGTH},
            figures=[
                *(figure(name, "evaluations/s", each) for name, each in rates.items()),
                figure("seen for the first time", "evaluations/s", compiled[0]),
            ],
        ),
        "store": None,
    }


def _measure(call: Callable[[], object], seconds: float) -> tuple[float, list[float]]:
    """Calls per second, and the sorted times of one call each, taken over some at once."""
    times: list[float] = []
    began = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        for _ in range(AT_ONCE):
            call()
        times.append((time.perf_counter() - now) / AT_ONCE)
    return len(times) * AT_ONCE / (time.perf_counter() - began), sorted(times)
