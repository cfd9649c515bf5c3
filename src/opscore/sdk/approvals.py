"""What people are asked: the calls of `/approval`."""

from __future__ import annotations

from typing import Any

from opscore.sdk.calls import Calls, body_of, decode
from opscore.sdk.server import segment
from opscore.wire.approval import ApprovalPage, ApprovalView

KEEP: Any = object()
"""No other details: those that were seen are used."""


class Approvals:
    """`/approval`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def list(
        self,
        *,
        status: str | None = "pending",
        session: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> ApprovalPage:
        """A page of what people are asked, the newest session's first; `status` None: of all."""
        params = body_of(status=status, session=session, cursor=cursor, limit=limit)
        return await self._calls.get("/approval", ApprovalPage, params)

    async def get(self, approval_id: str) -> ApprovalView:
        """Title, details, their hash, and who has approved."""
        return await self._calls.get(f"/approval/{segment(approval_id)}", ApprovalView)

    async def approve(
        self,
        approval_id: str,
        content_hash: str,
        *,
        comment: str = "",
        by: str | None = None,
        details: Any = KEEP,
    ) -> ApprovalView:
        """Say yes to the content of that hash, or put other `details` in its place.

        `by` names the approver when it is not the owner of the key; that needs the right `admin`.
        """
        body = body_of(contentHash=content_hash, comment=comment, by=by)
        if details is not KEEP:
            body["details"] = details
        return await self._decide(approval_id, "approve", body)

    async def reject(
        self, approval_id: str, *, comment: str = "", by: str | None = None
    ) -> ApprovalView:
        """Say no; one is enough."""
        return await self._decide(approval_id, "reject", body_of(comment=comment, by=by))

    async def _decide(self, approval_id: str, verb: str, body: dict[str, Any]) -> ApprovalView:
        path = f"/approval/{segment(approval_id)}/{verb}"
        return decode(await self._calls.change("POST", path, body), ApprovalView)
