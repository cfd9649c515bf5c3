"""Which of the capable agents a task is for: rules, ranks, and what a template may say."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import pytest

from opscore.core import commands as cmd
from opscore.core.expressions import AgentView
from opscore.core.match_rules import choice_of
from opscore.core.matching import Slots, assign
from opscore.core.types import SECOND, SessionStatus
from opscore.expressions import CelExpressions
from tests.core.scene import Scene

expressions = cache(CelExpressions)
BIG = AgentView("big", "2.1", {"gpu": "a100", "zone": "eu"}, {"memory": 80}, "idle", 3)
GPU = {"labels": {"gpu": "a100"}}


def wanted(match: dict[str, Any]) -> str:
    """What a task asks whose step says so."""
    scene = Scene({"a": {"capability": "work", "match": match}})
    scene.start()
    found = scene.task("a").match
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("labels", "fits"),
    [
        ({"gpu": "a100"}, True),
        ({"gpu": "a100", "zone": "eu"}, True),
        ({"gpu": "t4"}, False),
        ({"gpu": "a100", "zone": "us"}, False),
        ({"disk": "big"}, False),
    ],
)
def test_every_label_must_be_the_same(labels: dict[str, str], fits: bool) -> None:
    assert choice_of(wanted({"labels": labels})).fits(BIG) is fits


@pytest.mark.parametrize(
    ("condition", "rank"),
    [
        ("agent.name == 'big'", 0.0),
        ("${{ agent.labels.gpu == 'a100' && agent.version.startsWith('2.') }}", 0.0),
        ("agent.metadata.memory >= 80", 0.0),
        ("agent.state == 'idle' && agent.free > 2", 0.0),
        ("agent.free > 3", 1.0),
        ("agent.labels.rack == 'r1'", 1.0),
        (True, 0.0),
    ],
)
def test_who_is_preferred_comes_first_and_who_cannot_be_told_does_not(
    condition: Any, rank: float
) -> None:
    choice = choice_of(wanted({"prefer": condition}))
    assert choice.fits(BIG)
    assert choice.rank(BIG, expressions()) == (rank,)


def test_equal_demands_are_one_queue_whatever_the_order_of_their_words() -> None:
    first = wanted({"labels": {"b": "1", "a": "2"}, "prefer": "agent.free > 1"})
    assert first == wanted({"prefer": "${{ agent.free > 1 }}", "labels": {"a": "2", "b": "1"}})
    assert first == '{"labels":{"a":"2","b":"1"},"prefer":"agent.free > 1"}'


def test_labels_may_be_computed_for_each_item() -> None:
    step = {
        "capability": "work",
        "foreach": ["eu", "us"],
        "match": {"labels": {"zone": "${{ item }}", "gpu": "${{ input.gpu }}"}},
    }
    scene = Scene({"a": step}, input={"gpu": "t4"})
    scene.start()
    asked = [msgspec.json.decode(task.match or "") for task in scene.queued()]
    assert [each["labels"] for each in asked] == [
        {"zone": "eu", "gpu": "t4"},
        {"zone": "us", "gpu": "t4"},
    ]


@pytest.mark.parametrize(
    ("labels", "input", "said"),
    [
        ({"gpu": "${{ input.n }}"}, {"n": 5}, "match: label 'gpu' is a text"),
        ("${{ input.n }}", {"n": {}}, "match: labels are a mapping of 1 to 16"),
        ("${{ input.n }}", {"n": {"a": None}}, "match: label 'a' is a text"),
        ("${{ input.n }}", {}, "no such key"),
    ],
)
def test_computed_labels_that_are_none_fail_the_step(labels: Any, input: Any, said: str) -> None:
    scene = Scene({"a": {"capability": "work", "match": {"labels": labels}}}, input=input)
    scene.start()
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error is not None
    assert scene.state.error.error_class == "expression"
    assert said in scene.state.error.message


def test_a_member_of_the_fallback_asks_what_it_says_itself() -> None:
    chain = [{"capability": "work", "match": {"labels": {"gpu": "t4"}}}, {"capability": "work"}]
    step = {"capability": "work", "retry": 1, "match": GPU, "fallback": chain}
    scene = Scene({"a": step})
    scene.start()
    asked: list[str | None] = []
    for _ in range(3):
        asked.append(scene.task("a").match)
        scene.fail()
    assert asked == ['{"labels":{"gpu":"a100"}}', '{"labels":{"gpu":"t4"}}', None]


def test_a_step_that_chooses_is_not_bound_to_the_sessions_agent() -> None:
    steps = {"a": {"capability": "work", "match": GPU}, "b": {"capability": "work"}}
    scene = Scene(steps)
    scene.start_bound("mine", ("work",))
    assert (scene.task("a").agent, scene.task("b").agent) == (None, "mine")


def test_the_undoing_of_a_step_asks_nothing() -> None:
    undo = {"compensate": {"capability": "undo"}}
    scene = Scene({"a": {"capability": "work", "match": GPU, **undo}, "b": {"signal": "go"}})
    scene.start()
    scene.complete()
    scene.later(1)

    scene.done(cmd.Cancel("", "operator:o", 10 * SECOND))
    assert scene.task("a").match is None


# -- who gets it ----------------------------------------------------------------------------


def slots(name: str, free: int, size: int = 4) -> Slots:
    return Slots(name, frozenset({"q", "r"}), free, size, 0)


def test_a_rank_comes_before_all_fairness_and_nobody_waits_for_it() -> None:
    tasks = [("q", n) for n in range(4)] + [("r", 4)]
    ranks = {"q": {"a": (0.0,), "b": (1.0,), "c": (1.0,)}}
    pairs = assign(tasks, [slots("a", 1), slots("b", 3), slots("c", 2)], ranks)
    assert pairs[0] == (0, "a")
    assert [name for _, name in pairs[1:]] == ["b", "b", "c", "b"]


def test_whoever_has_no_rank_comes_last() -> None:
    assert assign([("q", 1)], [slots("a", 4), slots("b", 1)], {"q": {"b": (1.0,)}}) == [(1, "b")]
