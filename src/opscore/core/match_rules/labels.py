"""`labels`: an agent must have each of them, with the same text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opscore.core.expressions import AgentView, ExpressionScope
from opscore.core.match_rules.rule import Rule
from opscore.core.template import Expression, Interpolated
from opscore.core.trees import is_map, kind_of, pointer

if TYPE_CHECKING:
    from opscore.core.reading import Reader

MOST = 16
LONGEST = 256


def _read(reader: Reader, node: object, where: str, scope: ExpressionScope) -> object:
    tree = reader.value(node, where, scope).tree
    if isinstance(tree, Expression):
        return tree
    if not is_map(tree) or not 0 < len(tree) <= MOST:
        message = f"labels must be a mapping of 1 to {MOST} names to texts, not {kind_of(node)}"
        reader.fault(where, message, "for example {gpu: a100}")
        return {"": ""}
    for name, text in tree.items():
        if not isinstance(text, str | Expression | Interpolated):
            hint = f'write it in quotes: "{text}"' if isinstance(text, int | float) else ""
            message = f"label '{name[:60]}' must be text, not {kind_of(text)}"
            reader.fault(where + pointer(name), message, hint)
    return {name: tree[name] for name in sorted(tree)}


def _complaint(labels: Any) -> str | None:
    if not is_map(labels) or not 0 < len(labels) <= MOST:
        return f"labels are a mapping of 1 to {MOST} names to texts, not {kind_of(labels)}"
    for name, text in labels.items():
        if not isinstance(text, str) or len(text) > LONGEST or len(name) > LONGEST:
            return (
                f"label '{name[:60]}' is a text of at most {LONGEST} characters, not {text!r:.60}"
            )
    return None


def _fits(labels: Mapping[str, str], agent: AgentView) -> bool:
    return all(agent.labels.get(name) == text for name, text in labels.items())


def _words(labels: Mapping[str, str]) -> str:
    return "labels {" + ", ".join(f"{name}: {text}" for name, text in labels.items()) + "}"


LABELS = Rule(
    key="labels",
    schema={
        "type": ["object", "string"],
        "minProperties": 1,
        "maxProperties": MOST,
        "additionalProperties": {"type": "string"},
    },
    read=_read,
    complaint=_complaint,
    fits=_fits,
    words=_words,
)
