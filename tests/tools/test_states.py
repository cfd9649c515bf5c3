"""State diagrams are drawn from the core's tables."""

from __future__ import annotations

from enum import StrEnum

from tools import states


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    BROKEN = "broken"


def test_draws_starts_transitions_and_ends_in_the_order_of_the_table() -> None:
    table = states.Table(
        thing="light",
        transitions={
            Light.RED: frozenset({Light.BROKEN, Light.GREEN}),
            Light.GREEN: frozenset({Light.RED}),
            Light.BROKEN: frozenset(),
        },
        starts=[Light.RED],
        ended=[Light.BROKEN],
    )
    assert states.draw(table).splitlines() == [
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> red",
        "    red --> green",
        "    red --> broken",
        "    green --> red",
        "    broken --> [*]",
        "```",
    ]


def test_finds_the_tables_of_the_core_in_the_order_of_the_glossary() -> None:
    things = [table.thing for table in states.tables()]
    assert things == sorted(things, key=states.ORDER.index)
    assert {"session", "step", "task"} <= set(things)


def test_every_table_has_every_state_of_its_kind() -> None:
    for table in states.tables():
        kind = type(next(iter(table.transitions)))
        assert set(table.transitions) == set(kind), table.thing
        assert set().union(*table.transitions.values()) <= set(kind), table.thing
