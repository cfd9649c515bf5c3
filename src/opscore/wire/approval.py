"""What people are asked, and what they answer."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from opscore.wire.base import Id, Input, Name, Output, Page, Text, null
from opscore.wire.queries import PageQuery

ApprovalWord = Literal["pending", "approved", "rejected", "cancelled"]
Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 in hex")]


class Vote(Output):
    """Who approved the content as it is now."""

    by: str
    comment: str = ""


class ApprovalView(Output):
    """What a step asks of people; `contentHash` is that of title and details."""

    approval_id: str
    session_id: str
    step: str
    workflow: str
    version: str
    status: ApprovalWord
    title: str
    details: msgspec.Raw
    content_hash: str
    approvers: list[str]
    quorum: int
    votes: list[Vote]
    edited: bool
    escalated: bool
    reason: str
    requested_at: str
    due_at: str | None
    decided_at: str | None


class ApprovalPage(Page, kw_only=True):
    """`GET /approval`, the newest session's first."""

    approvals: list[ApprovalView]


class ListApprovals(PageQuery, kw_only=True):
    """`GET /approval`."""

    status: ApprovalWord | None = None
    session: Id | None = None


class Approve(Input):
    """`POST /approval/{id}/approve`: yes to the content of that hash, or to other details.

    `by` names the approver when it is not the owner of the key; that needs the right `admin`.
    """

    content_hash: Hash
    comment: Text = ""
    by: Name | None = None
    details: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Reject(Input):
    """`POST /approval/{id}/reject`: one is enough."""

    content_hash: Hash | None = None
    comment: Text = ""
    by: Name | None = None


class SendSignal(Input):
    """`POST /session/{id}/signal/{name}`. The same `signalId` again changes nothing."""

    payload: msgspec.Raw = msgspec.field(default_factory=null)
    signal_id: Name | None = None


class SignalAccepted(Output):
    """Answer of it."""

    session_id: str
    signal_id: str
