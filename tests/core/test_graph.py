"""The graph of steps."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from opscore.core.graph import ancestors_of, dependents_of, find_cycles, topological_order

names = st.sampled_from("abcdefgh")
graphs = st.dictionaries(names, st.lists(names, max_size=4, unique=True)).map(
    lambda graph: {
        name: [each for each in wanted if each in graph] for name, wanted in graph.items()
    }
)


@given(graphs)
def test_order_or_cycle(graph: dict[str, list[str]]) -> None:
    order = topological_order(graph)
    for at, name in enumerate(order):
        assert set(graph[name]) <= set(order[:at])
    cycles = find_cycles(graph)
    assert bool(cycles) == (len(order) < len(graph))
    for cycle in cycles:
        assert cycle[0] == cycle[-1]
        assert all(after in graph[name] for name, after in pairwise(cycle))


@given(graphs)
def test_cycles_share_no_step(graph: dict[str, list[str]]) -> None:
    steps = [name for cycle in find_cycles(graph) for name in cycle[:-1]]
    assert len(steps) == len(set(steps))


def test_ancestors_and_dependents() -> None:
    graph = {"c": ("b",), "b": ("a",), "a": (), "d": ("a", "c")}
    order = topological_order(graph)
    assert order == ("a", "b", "c", "d")
    assert ancestors_of(graph, order)["d"] == {"a", "b", "c"}
    assert dependents_of(graph) == {"a": ("b", "d"), "b": ("c",), "c": ("d",), "d": ()}


def test_a_long_chain_needs_no_recursion() -> None:
    graph = {f"s{at}": (f"s{at - 1}",) if at else () for at in range(5000)}
    assert len(topological_order(graph)) == 5000
    graph["s0"] = ("s4999",)
    assert len(find_cycles(graph)[0]) == 5001
