"""Tokens and cost, as agents report them with an outcome."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from opscore.core.types import Json


class Reported(msgspec.Struct, rename="camel"):
    """What stands in an event under `usage`."""

    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


NULL = msgspec.Raw(b"null")
_READ = msgspec.json.Decoder(Reported)


@dataclass(slots=True)
class Usage:
    """A sum over `attempts` that reported usage."""

    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    models: set[str] = field(default_factory=set[str])

    def add(self, other: Usage) -> None:
        """Count another sum in."""
        self.attempts += other.attempts
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost_usd += other.cost_usd
        self.models |= other.models


@dataclass(slots=True)
class Spent:
    """What was spent, and how much of it for attempts that did not complete their task."""

    total: Usage = field(default_factory=Usage)
    wasted: Usage = field(default_factory=Usage)

    def join(self, other: Spent) -> None:
        """Count what somebody else spent in."""
        self.total.add(other.total)
        self.wasted.add(other.wasted)

    def add(self, usage: Usage, *, wasted: bool) -> None:
        """Count an attempt's usage in."""
        self.total.add(usage)
        if wasted:
            self.wasted.add(usage)


class _Settled(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw(b"null")


_SETTLED = msgspec.json.Decoder(_Settled)
_TOLD = b'"usage":{'
_COMPLETED, _FAILED = "task.completed", frozenset({"task.retried", "task.failed"})


def spent_by(kind: str, data: Json) -> Spent | None:
    """What an encoded event of the journal says was spent; None when it says nothing."""
    if (kind != _COMPLETED and kind not in _FAILED) or _TOLD not in bytes(data):
        return None
    usage = read_usage(_SETTLED.decode(data).usage)
    if usage is None:
        return None
    spent = Spent()
    spent.add(usage, wasted=kind in _FAILED)
    return spent


def read_usage(document: Json | None) -> Usage | None:
    """The usage of one attempt; None when it reported none."""
    if document is None or document == NULL:
        return None
    found = _READ.decode(document)
    models = set[str]() if found.model is None else {found.model}
    return Usage(1, found.input_tokens, found.output_tokens, found.cost_usd, models)
