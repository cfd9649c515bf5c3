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

    def add(self, usage: Usage, *, wasted: bool) -> None:
        """Count an attempt's usage in."""
        self.total.add(usage)
        if wasted:
            self.wasted.add(usage)


def read_usage(document: Json | None) -> Usage | None:
    """The usage of one attempt; None when it reported none."""
    if document is None:
        return None
    found = _READ.decode(document)
    models = set[str]() if found.model is None else {found.model}
    return Usage(1, found.input_tokens, found.output_tokens, found.cost_usd, models)
