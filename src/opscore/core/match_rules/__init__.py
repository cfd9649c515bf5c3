"""Which of the capable agents a task is for: the matching rules, one file each, and one line here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from opscore.core.expressions import (
    AgentView,
    ExpressionFailed,
    Expressions,
    ExpressionScope,
    Scope,
)
from opscore.core.interpolation import expressions_in, shown
from opscore.core.match_rules.labels import LABELS
from opscore.core.match_rules.prefer import PREFER
from opscore.core.match_rules.rule import Rule
from opscore.core.template import Value

if TYPE_CHECKING:
    from opscore.core.reading import Reader

RULES = (LABELS, PREFER)
RULE_OF: dict[str, Rule] = {rule.key: rule for rule in RULES}
"""The rule of a key of `match`."""


def read_match(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Value | None:
    """`match` of a step or of a fallback: its rules' trees, by key."""
    if "match" not in node:
        return None
    where = f"{where}/match"
    if "agent" in node:
        reader.fault(where, "'match' means nothing beside 'agent'", "it names the one agent itself")
    found = reader.mapping(node["match"], where, "match")
    if found is None:
        return None
    reader.known_keys(found, where, tuple(RULE_OF))
    if not found:
        reader.fault(where, "match says nothing", f"add one of: {', '.join(RULE_OF)}")
    tree = {
        key: RULE_OF[key].read(reader, found[key], f"{where}/{key}", scope)
        for key in sorted(found)
        if key in RULE_OF
    }
    return Value(tree, dynamic=bool(expressions_in(Value(tree, dynamic=True))))


def match_of(value: Value, expressions: Expressions, scope: Scope) -> str:
    """What a task asks of agents, as canonical JSON. Raises ExpressionFailed."""
    tree: dict[str, Any] = json.loads(bytes(expressions.render(value, scope)))
    for key, each in tree.items():
        complaint = RULE_OF[key].complaint(each)
        if complaint is not None:
            raise ExpressionFailed(f"match: {complaint}")
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """The rules of one match, with their values."""

    rules: tuple[tuple[Rule, Any], ...]

    def fits(self, agent: AgentView) -> bool:
        """Whether a capable agent may take such a task."""
        return all(rule.fits(value, agent) for rule, value in self.rules)

    @property
    def ranks(self) -> bool:
        """Whether some agents come before others."""
        return any(rule.rank is not None for rule, _ in self.rules)

    def rank(self, agent: AgentView, expressions: Expressions) -> tuple[float, ...]:
        """Agents with the lowest come first."""
        return tuple(
            rule.rank(value, agent, expressions)
            for rule, value in self.rules
            if rule.rank is not None
        )

    @property
    def words(self) -> str:
        """What an agent must have: `labels {gpu: a100}`; empty when every capable one will do."""
        return " and ".join(said for rule, value in self.rules if (said := rule.words(value)))


def words_of(value: Value) -> str:
    """What a template asks of agents, as far as it is written there."""
    return choice_of(json.dumps(shown(value.tree))).words


@lru_cache(maxsize=1024)
def choice_of(match: str) -> Choice:
    """A task's `match` read back."""
    tree: dict[str, Any] = json.loads(match)
    return Choice(tuple((RULE_OF[key], value) for key, value in tree.items()))
