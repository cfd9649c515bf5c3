"""Log records: what was done, where, and how it went, in a form that can be searched.

The journal is the truth about work; log records are words about it, and may be lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, cast

from opscore.core.types import Micros

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
"""The words for levels, and their weights as the standard library has them."""
MESSAGE_LIMIT = 8_192
CONTEXT_VALUES = 32
"""So many values of a context can be searched for by their key."""
CONTEXT_DEPTH = 3
VALUE_LIMIT = 200
"""A longer value is found by its words only."""
SERVER = "*"
"""The namespace of records about the server itself, which no tenant has."""
_WORD = re.compile(r"[^\W_]+\*?")
_CONTEXT_KEY = re.compile(r"ctx\.([^\s:=]+)[:=](\S+)")


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One fact. `context` holds plain values; `log_id` is 0 until the record is kept.

    `at` is the server's time of receipt, by which records are ordered; `reported_at` is what the
    clock of whoever wrote the record said, as it was told.
    """

    at: Micros
    level: str
    operation: str
    namespace: str
    message: str
    agent_id: str | None = None
    agent: str | None = None
    session_id: str | None = None
    task_id: str | None = None
    attempt: int | None = None
    trace_id: str | None = None
    span_id: str | None = None
    error_type: str | None = None
    error_code: str | None = None
    actor: str | None = None
    reported_at: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    log_id: int = 0

    def sent_by(self, actor: str, agent_id: str | None) -> LogRecord:
        """The record, sent by this actor; who may speak as one agent only is that agent."""
        return replace(self, actor=actor, agent_id=agent_id or self.agent_id)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long records are kept, and how large the store may become."""

    seconds: float = 14 * 86_400.0
    most_bytes: int = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class LogSearch:
    """Which records are wanted; all that is named must hold.

    `namespaces`: one of these. `agent` is an id or a name, `level` the lowest level, `words` must
    all occur (one that ends with `*`: as a beginning), `context` are exact values by their key.
    `since` counts, `until` does not. `after` and `before` are log ids, both left out themselves.
    """

    namespaces: tuple[str, ...]
    agent: str | None = None
    session_id: str | None = None
    task_id: str | None = None
    trace_id: str | None = None
    level: str | None = None
    error_type: str | None = None
    words: tuple[str, ...] = ()
    context: tuple[tuple[str, str], ...] = ()
    since: Micros | None = None
    until: Micros | None = None
    after: int | None = None
    before: int | None = None


def words_of(text: str) -> tuple[str, ...]:
    """The words of a free text: runs of letters and digits, as the index has them."""
    return tuple(_WORD.findall(text))


def split_text(text: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The words of what somebody searches for, and the `ctx.KEY:VALUE` between them."""
    keys = tuple((key, value) for key, value in _CONTEXT_KEY.findall(text))
    return words_of(_CONTEXT_KEY.sub(" ", text)), keys


def context_values(context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The values of a context that can be searched for, by dotted key, as text."""
    yield from islice(_flat(context, "", CONTEXT_DEPTH), CONTEXT_VALUES)


def _flat(context: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, value in context.items():
        if isinstance(value, Mapping) and depth > 1:
            inner = cast("Mapping[str, Any]", value)
            yield from _flat(inner, f"{prefix}{key}.", depth - 1)
        elif (text := _text(value)) is not None:
            yield f"{prefix}{key}", text


def _text(value: Any) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str() if len(value) <= VALUE_LIMIT:
            return value
        case _:
            return None
