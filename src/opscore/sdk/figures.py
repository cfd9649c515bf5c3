"""Figures over many sessions: how long things take, and what they cost."""

from __future__ import annotations

from opscore.sdk.calls import Calls, body_of
from opscore.wire.trace import SlowestView, UsageReport


class Figures:
    """The part of `/session` that is about no single one."""

    _calls: Calls

    async def slowest(self, *, since: str = "1h", limit: int = 10) -> SlowestView:
        """The slowest steps and capabilities since a moment (RFC 3339), or so long ago."""
        params = body_of(since=since, limit=limit)
        return await self._calls.get("/trace/slowest", SlowestView, params)

    async def usage(self, *, by: str = "capability", since: str = "1d") -> UsageReport:
        """Tokens and cost by agent, capability, day or workflow, since a moment or so long ago."""
        return await self._calls.get("/usage", UsageReport, body_of(by=by, since=since))
