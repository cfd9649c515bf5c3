"""The audit, for programs that watch over it."""

from __future__ import annotations

from opscore.sdk.calls import Calls, body_of
from opscore.wire.audit import AuditPage


class Audit:
    """`/audit`. It needs the scope `admin`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def list(
        self,
        *,
        actor: str | None = None,
        key: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        since: str | None = None,
        until: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> AuditPage:
        """A page of what people and keys changed by order, newest first."""
        params = body_of(
            actor=actor,
            key=key,
            action=action,
            subject=subject,
            since=since,
            until=until,
            cursor=cursor,
            limit=limit,
        )
        return await self._calls.get("/audit", AuditPage, params)
