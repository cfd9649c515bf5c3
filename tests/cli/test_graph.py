from __future__ import annotations

from itertools import pairwise

from opscore.cli.graph import DEEPEST, Node, drawn, needs_of


def test_needs_are_one_name_or_many() -> None:
    steps = {"a": {}, "b": {"needs": "a"}, "c": {"needs": ["a", "b"]}, "d": {"needs": None}}
    needs = needs_of({"steps": steps})
    assert needs == {"a": (), "b": ("a",), "c": ("a", "b"), "d": ()}
    assert needs_of({}) == {}


def test_a_step_stands_below_the_last_of_its_needs() -> None:
    needs = {"b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d",)}
    assert drawn("abcde", needs) == [
        Node("a"),
        Node("b", (False,), last=False),
        Node("c", (False,), last=True),
        Node("d", (False, False), also=("b",)),
        Node("e", (False, False, False)),
    ]


def test_lines_go_on_past_what_has_more_below_it() -> None:
    needs = {"b": ("a",), "c": ("b",), "d": ("a",)}
    assert [node.guides for node in drawn("abcd", needs)] == [(), (False,), (False, True), (False,)]


def test_steps_without_known_needs_stand_alone() -> None:
    assert [node.name for node in drawn(["x", "y"], {"y": ("gone",)})] == ["x", "y"]


def test_a_long_chain_is_drawn_no_deeper_than_a_terminal_is_wide() -> None:
    names = [f"s{n}" for n in range(3_000)]
    nodes = drawn(names, {after: (before,) for before, after in pairwise(names)})
    assert [node.name for node in nodes] == names
    assert max(len(node.guides) for node in nodes) == DEEPEST
