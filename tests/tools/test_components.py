"""The component diagram shows the rooms and who imports whom."""

from __future__ import annotations

from tools import components


def test_draws_rooms_and_imports() -> None:
    text = components.draw([("api", "Thin routes"), ("core", "Decisions")], [("api", "core")])
    assert text.splitlines() == [
        "```mermaid",
        "flowchart TD",
        '    api["<b>api</b><br/>Thin routes"]',
        '    core["<b>core</b><br/>Decisions"]',
        "    api --> core",
        "```",
    ]


def test_sees_real_imports_and_never_one_against_the_rules() -> None:
    rooms, pairs = components.imports()
    assert {"core", "engine", "store", "wire"} <= set(rooms)
    assert ("engine", "core") in pairs
    assert not [pair for pair in pairs if pair[0] in {"core", "wire"}]


def test_every_room_says_what_it_is_for() -> None:
    rooms, _ = components.imports()
    assert [room for room in rooms if not components.purpose_of(room)] == []
