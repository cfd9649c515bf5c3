"""Queues: what waits for whom."""

from __future__ import annotations

from opscore.wire.base import Output, Page


class QueueView(Output):
    """The tasks for one capability that have not ended, by state.

    `capability` is null for tasks that name an agent instead. `blocked` wait for a limit,
    `scheduled` for their time. `oldestSeconds`: how long the first that may be claimed has existed.
    """

    capability: str | None
    available: int
    blocked: int
    running: int
    scheduled: int
    oldest_seconds: float | None


class QueuePage(Page, kw_only=True):
    """`GET /queue`, by capability."""

    queues: list[QueueView]
