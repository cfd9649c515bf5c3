"""Plans: order, width, worst cases, and what the input tells."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core.errors import Invalid
from opscore.planning import plan_template

BOUNDED = {"timeout": {"attempt": "10s", "queue": "5s"}, "retry": 1}


def planned(steps: dict[str, Any], given: object = None, **rest: Any) -> dict[str, Any]:
    return plan_template({"name": "t", "version": "1", "steps": steps, **rest}, given)


def task(**keys: Any) -> dict[str, Any]:
    return {"capability": "c", **BOUNDED, **keys}


def one(step: dict[str, Any], given: object = None) -> dict[str, Any]:
    return planned({"a": step}, given)["steps"][0]


def test_waves_and_the_longest_path() -> None:
    found = planned(
        {
            "d": task(needs=["b", "c"]),
            "a": task(),
            "b": task(needs="a", retry={"maxAttempts": 2, "initialDelay": "4s", "jitter": 0.5}),
            "c": task(needs="a"),
            "e": {"value": 1},
        }
    )
    assert found["waves"] == [["a", "e"], ["b", "c"], ["d"]]
    assert found["longestPath"] == ["a", "b", "d"]
    assert found["attempts"] == 5
    assert found["seconds"] == 15 + (2 * 15 + 4 * 1.5) + 15


@pytest.mark.parametrize(
    ("step", "attempts", "seconds"),
    [
        (task(), 1, 15),
        (task(fallback=[{"agent": "x"}, {"value": 1}]), 2, 30),
        (task(retry={"maxAttempts": 4, "backoff": "constant", "jitter": 0}), 4, 63),
        (task(retry={"maxAttempts": 4, "initialDelay": "1s", "jitter": 0}), 4, 67),
        (task(retry={"maxAttempts": 4, "maxDelay": "2s", "jitter": 0}), 4, 65),
        (task(foreach=[1, 2, 3]), 3, 15),
        (task(foreach=[1, 2, 3], maxParallel=2), 3, 30),
        (task(foreach=[], maxParallel=2), 0, 0),
        ({"value": 1, "foreach": "${{ input.x }}"}, 0, 0),
        ({"capability": "c", "retry": 2}, 2, None),
        (task(foreach="${{ input.x }}"), None, None),
        ({"capability": "w", "timeout": {"attempt": "10s", "total": "1m"}}, 3, 60),
        (
            {
                "capability": "w",
                "retry": 1,
                "timeout": {"attempt": "1s", "queue": "1s", "total": "1m"},
            },
            1,
            2,
        ),
        (task(foreach=[1, 2, 3], maxParallel=1, timeout={"attempt": "5s", "total": "7s"}), 3, 7),
        ({"workflow": "w"}, None, None),
        ({"workflow": "w", "timeout": "1m"}, None, 60),
        ({"signal": "s", "timeout": "1m", "fallback": [{"value": 1}]}, 0, 60),
        ({"signal": "s", "timeout": "1m", "fallback": [{"capability": "w"}]}, 3, None),
        ({"approval": {"title": "?", "timeout": "1h"}, "fallback": [{"value": 1}]}, 0, 3600),
    ],
)
def test_worst_cases(step: dict[str, Any], attempts: int | None, seconds: float | None) -> None:
    found = one(step)
    assert (found["attempts"], found["seconds"]) == (attempts, seconds)
    assert bool(found["unbounded"]) == (seconds is None)


def test_the_input_tells_what_depends_on_nothing_else() -> None:
    step = task(foreach="${{ input.x }}", **{"if": "size(input.x) > 1"})
    assert (one(step, {"x": [1, 2]})["items"], one(step, {"x": [1, 2]})["runs"]) == (2, True)
    assert (one(step, {"x": [1]})["attempts"], one(step, {"x": [1]})["runs"]) == (0, False)
    assert (one(step, {"x": 5})["items"], one(step, {"x": 5})["runs"]) == (None, None)
    other = planned({"a": task(), "b": task(needs="a", **{"if": "steps.a.output == 1"})}, {"x": []})
    assert [step["runs"] for step in other["steps"]] == [True, None]


def test_the_templates_own_timeout_bounds_it() -> None:
    found = planned({"a": {"capability": "c"}}, timeout="1m")
    assert (found["seconds"], found["boundedByTimeout"]) == (60, True)
    found = planned({"a": task()}, timeout="1m")
    assert (found["seconds"], found["boundedByTimeout"]) == (15, False)


def test_an_input_that_does_not_fit_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        planned({"a": task()}, {}, input={"type": "object", "required": ["x"]})
    assert [fault.pointer for fault in refused.value.faults] == ["/input"]
