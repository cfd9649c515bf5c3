"""Changes by filter: many sessions or tasks at once."""

from __future__ import annotations

from opscore.sdk.calls import Calls, body_of, decode
from opscore.wire.bulk import BulkAnswer


class ManySessions:
    """The part of `/session` that takes filters."""

    _calls: Calls

    async def cancel_many(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        agent: str | None = None,
        label: str | None = None,
        since: str | None = None,
        until: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> BulkAnswer:
        """Stop those that fit and have not ended; one filter at least. `dry_run`: say which."""
        body = body_of(
            workflow=workflow,
            status=status,
            agent=agent,
            label=label,
            since=since,
            until=until,
            reason=reason,
            dryRun=dry_run,
        )
        return decode(await self._calls.change("POST", "/session/cancel", body), BulkAnswer)


class ManyTasks:
    """The part of `/task` that takes filters."""

    _calls: Calls

    async def retry_many(
        self,
        *,
        agent: str | None = None,
        capability: str | None = None,
        session: str | None = None,
        workflow: str | None = None,
        error_class: str | None = None,
        attempts: int | None = None,
        dry_run: bool = False,
    ) -> BulkAnswer:
        """Run dead letters again, all or those that fit. `dry_run`: only say which."""
        body = body_of(
            agent=agent,
            capability=capability,
            session=session,
            workflow=workflow,
            errorClass=error_class,
            attempts=attempts,
            dryRun=dry_run,
        )
        return decode(await self._calls.change("POST", "/task/retry", body), BulkAnswer)

    async def fallback_many(
        self,
        *,
        status: str | None = None,
        agent: str | None = None,
        capability: str | None = None,
        session: str | None = None,
        workflow: str | None = None,
        error_class: str | None = None,
        dry_run: bool = False,
    ) -> BulkAnswer:
        """Give tasks up for their next fallbacks: dead letters, or those in a `status`."""
        body = body_of(
            status=status,
            agent=agent,
            capability=capability,
            session=session,
            workflow=workflow,
            errorClass=error_class,
            dryRun=dry_run,
        )
        return decode(await self._calls.change("POST", "/task/fallback", body), BulkAnswer)
