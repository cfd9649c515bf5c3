"""State diagrams drawn from the transition tables of the core.

Every constant `THING_TRANSITIONS` (state → states that may follow) in a module of `opscore.core` becomes a diagram.
Two further constants of the same module refine it: `THING_STARTS`, the states a thing may begin in (otherwise the
first of the table), and `THING_ENDED`, the states that end it (otherwise those with no way out).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType

import opscore.core

SUFFIX = "_TRANSITIONS"
ORDER = ("agent", "session", "step", "task", "attempt")


@dataclass(frozen=True, slots=True)
class Table:
    """One transition table of the core."""

    thing: str
    transitions: Mapping[StrEnum, frozenset[StrEnum]]
    starts: Collection[StrEnum]
    ended: Collection[StrEnum]


def tables() -> list[Table]:
    """All tables of the core: the known things in the order of the glossary, then any others."""
    found: dict[str, Table] = {}
    for info in pkgutil.iter_modules(opscore.core.__path__, "opscore.core."):
        module = importlib.import_module(info.name)
        for name in vars(module):
            if name.endswith(SUFFIX):
                table = table_of(module, name.removesuffix(SUFFIX))
                found[table.thing] = table
    rank = {thing: number for number, thing in enumerate(ORDER)}
    return sorted(found.values(), key=lambda table: (rank.get(table.thing, len(rank)), table.thing))


def table_of(module: ModuleType, prefix: str) -> Table:
    transitions: Mapping[StrEnum, frozenset[StrEnum]] = getattr(module, prefix + SUFFIX)
    without_exit = [state for state, following in transitions.items() if not following]
    return Table(
        thing=prefix.lower(),
        transitions=transitions,
        starts=getattr(module, f"{prefix}_STARTS", list(transitions)[:1]),
        ended=getattr(module, f"{prefix}_ENDED", without_exit),
    )


def draw(table: Table) -> str:
    """A Mermaid state diagram. States keep the order of the table, so that equal tables give equal text."""
    order = {state: number for number, state in enumerate(table.transitions)}
    lines = [f"    [*] --> {state.value}" for state in sorted(table.starts, key=order.__getitem__)]
    for state, following in table.transitions.items():
        lines += [
            f"    {state.value} --> {each.value}"
            for each in sorted(following, key=order.__getitem__)
        ]
        if state in table.ended:
            lines.append(f"    {state.value} --> [*]")
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def diagrams() -> str:
    return "\n\n".join(f"### {table.thing.capitalize()}\n\n{draw(table)}" for table in tables())
