"""Terms of tasks, and the arithmetic of rates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opscore.core import commands as cmd
from opscore.core.limits import Terms, interval, opens_at, passed
from opscore.core.types import SECOND, StepStatus
from tests.core.scene import Scene


@given(
    st.integers(1, 50),
    st.integers(1, 10**9),
    st.lists(st.integers(0, 10**8), min_size=1, max_size=200),
)
def test_a_rate_lets_no_more_through_than_its_burst_and_its_steady_flow(
    starts: int, per: int, pauses: list[int]
) -> None:
    tat, now = 0, 10**15
    through: list[int] = []
    for pause in pauses:
        now += pause
        if opens_at(tat, starts, per) <= now:
            tat = passed(tat, now, starts, per)
            through.append(now)
    for first, begun in enumerate(through):
        for last in range(first, len(through)):
            # In any stretch of time: a burst, and one more for each whole interval of it.
            steady = (through[last] - begun) // interval(starts, per)
            assert last - first + 1 <= starts + steady


def test_a_used_up_rate_opens_after_one_interval() -> None:
    tat = 0
    for _ in range(3):
        assert opens_at(tat, 3, 6 * SECOND) <= 100 * SECOND
        tat = passed(tat, 100 * SECOND, 3, 6 * SECOND)
    assert opens_at(tat, 3, 6 * SECOND) == 102 * SECOND


def one(**step: Any) -> Scene:
    return Scene(
        {"a": {"capability": "work", **step}}, input={"who": "ann", "n": 5, "long": "x" * 300}
    )


def test_the_keys_of_a_task_are_rendered_when_it_is_made() -> None:
    scene = one(
        foreach=["x", "y"],
        concurrency={"key": "${{ input.who }}", "limit": 2, "onFull": "reject"},
        rate={"key": "of ${{ item }}", "limit": 3, "per": "1m"},
    )
    scene.start()
    terms = [task.terms for task in scene.state.tasks.values()]
    assert terms == [Terms("ann", 2, "reject", f"of {i}", 3, 60 * SECOND) for i in "xy"]


@pytest.mark.parametrize("name", ["n", "long", "missing"])
def test_a_key_that_is_no_text_fails_the_step(name: str) -> None:
    scene = one(concurrency={"key": f"${{{{ input.{name} }}}}", "limit": 2})
    scene.start()
    assert scene.step("a") is StepStatus.FAILED
    error = scene.state.steps["a"].error
    assert error is not None and error.error_class == "expression"


def test_a_rejected_task_goes_to_its_fallback_and_is_not_retried() -> None:
    scene = one(concurrency={"key": "k", "limit": 1}, retry=5, fallback=[{"value": 7}])
    scene.start()
    scene.done(cmd.RejectTask("tsk_0-1", "1 of 1"))
    assert scene.step("a") is StepStatus.COMPLETED
    assert scene.refused(cmd.RejectTask("tsk_0-1", "1 of 1")) == "conflict"
