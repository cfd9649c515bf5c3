"""Fan-out costs each item the same, however many there are: counted, not timed."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.engine.journal import encode
from tests.model.plays import CALM
from tests.model.theatre import Theatre, perform
from tests.model.world import Answer, Play

SIZES = (500, 1_000, 1_500)
"""Multiples of what one commit holds."""
CHILD: dict[str, Any] = {"name": "child", "version": "1", "steps": {"a": {"capability": "c"}}}
EACH: dict[str, dict[str, Any]] = {
    "tasks": {"capability": "c", "with": {"n": "${{ item }}"}},
    "a few at a time": {"capability": "c", "maxParallel": 50},
    "failures collected": {"capability": "c", "failures": "collect", "retry": 1},
    "child sessions": {"workflow": "child"},
    "computed": {"value": "${{ item + 1 }}"},
}


def fanned_out(step: dict[str, Any], size: int) -> Theatre:
    steps = {"each": {"foreach": "${{ lists.range(input.n) }}", **step}}
    steps["all"] = {"needs": "each", "value": "${{ size(steps.each.output) }}"}
    first = {"name": "first", "version": "1", "steps": steps, "output": "${{ steps.all.output }}"}
    play = Play([first, CHILD], {"n": size}, frozenset(), [], {}, {}, CALM)
    theatre = perform(play, lambda key: Answer(key.index))
    assert theatre.seen.sessions["main"].output == size
    return theatre


def cost(theatre: Theatre) -> tuple[int, int, int]:
    """Decisions, events, and the bytes of these, of all sessions."""
    decisions = [each for of in theatre.spy.decisions.values() for each in of]
    events = [event for each in decisions for event in each.events]
    return len(decisions), len(events), sum(len(encode(event)) for event in events)


@pytest.mark.parametrize("step", EACH.values(), ids=EACH)
def test_fan_out_is_linear(step: dict[str, Any]) -> None:
    small, middle, large = (cost(fanned_out(step, size)) for size in SIZES)
    for few, more, most in zip(small[:2], middle[:2], large[:2], strict=True):
        assert most - more == more - few
    # Numbers have more digits when there are more of them.
    assert large[2] - middle[2] <= 1.3 * (middle[2] - small[2])
