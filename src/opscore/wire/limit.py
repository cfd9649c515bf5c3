"""Limits: concurrency and rate keys in use."""

from __future__ import annotations

from typing import Literal

from opscore.wire.base import Output, Page


class LimitView(Output, omit_defaults=True):
    """One key. `holders`: the attempts in flight under it, `[taskId, attempt]` each.

    Of a template's concurrency, `sessions` are those that were let in and have not ended.
    Of a rate: `limit` begin in `perSeconds`, and when it is used up the next one at `opensAt`.
    """

    kind: Literal["concurrency", "sessions", "rate"]
    key: str
    limit: int
    in_use: int
    waiting: int
    holders: list[tuple[str, int]] = []
    sessions: list[str] = []
    per_seconds: float | None = None
    opens_at: str | None = None


class LimitPage(Page, kw_only=True):
    """`GET /limit`, concurrency before rates, by key."""

    limits: list[LimitView]
