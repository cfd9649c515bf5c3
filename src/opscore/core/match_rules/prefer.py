"""`prefer`: agents for whom a condition holds come first; nobody waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opscore.core.expressions import AgentView, ExpressionFailed, Expressions, ExpressionScope
from opscore.core.match_rules.rule import AgentScope, Rule

if TYPE_CHECKING:
    from opscore.core.reading import Reader

SEES_AGENT = ExpressionScope(frozenset({"agent"}))


def _read(reader: Reader, node: object, where: str, _scope: ExpressionScope) -> object:
    return reader.condition(node, where, SEES_AGENT, "'prefer'") or "true"


def _rank(condition: str, agent: AgentView, expressions: Expressions) -> float:
    """An agent of whom the condition cannot be told, for want of a label say, is not preferred."""
    try:
        return 0.0 if expressions.condition(condition, AgentScope(agent)) else 1.0
    except ExpressionFailed:
        return 1.0


PREFER = Rule(
    key="prefer",
    schema={"type": ["string", "boolean"], "minLength": 1},
    read=_read,
    rank=_rank,
)
