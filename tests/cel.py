"""A scope to evaluate in, and short ways to do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from opscore.core.expressions import AgentView, ExpressionFailed, SessionView, StepView
from opscore.core.interpolation import read_value
from opscore.core.template import Value
from opscore.core.types import ErrorInfo, Json, StepStatus
from opscore.expressions import CelExpressions

SESSION = SessionView(
    "ses_1", "flow", "2", 50, {"team": "a"}, msgspec.Raw(b'{"user":{"id":7}}'), {"REGION": "eu"}
)


@dataclass
class Here:
    """A scope with whatever a test needs."""

    input: Json = b"{}"
    item: Json | None = None
    index: int | None = None
    previous: Json | None = None
    agent: AgentView | None = None
    error: ErrorInfo | None = None
    session: SessionView = SESSION
    outputs: Mapping[str, Json | None] = field(default_factory=dict[str, "Json | None"])

    @property
    def ancestors(self) -> frozenset[str]:
        return frozenset(self.outputs)

    def step(self, name: str) -> StepView | None:
        if name not in self.outputs:
            return None
        output = self.outputs[name]
        return StepView(StepStatus.SKIPPED if output is None else StepStatus.COMPLETED, output)


def value_of(tree: object) -> Value:
    value, mistakes = read_value(tree)
    assert not mistakes
    return value


def raw(value: object) -> Json:
    return msgspec.Raw(msgspec.json.encode(value))


def rendered(cel: CelExpressions, tree: object, here: Here) -> bytes:
    return bytes(cel.render(value_of(tree), here))


def result(cel: CelExpressions, text: str, data: object = None, **more: Any) -> Any:
    return msgspec.json.decode(rendered(cel, f"${{{{ {text} }}}}", Here(raw(data), **more)))


def failure(cel: CelExpressions, text: str, data: object = None, **more: Any) -> ExpressionFailed:
    with pytest.raises(ExpressionFailed) as caught:
        result(cel, text, data, **more)
    assert text[:20].strip() in str(caught.value), "the message names the expression"
    return caught.value


def failed(cel: CelExpressions, tree: object, here: Here) -> ExpressionFailed | None:
    try:
        cel.render(value_of(tree), here)
    except ExpressionFailed as error:
        return error
    return None
