"""The audit: who changed what by order."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from opscore.wire.base import Id, Name, Output, Page
from opscore.wire.queries import Moment, PageQuery

Action = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, description="What was done: `key.revoked`")
]


class ListAudit(PageQuery, kw_only=True):
    """`GET /audit`. `subject` is the id of what was changed, `key` that of the key shown."""

    actor: (
        Annotated[str, msgspec.Meta(max_length=300, description="As `operator:key_…`")] | None
    ) = None
    key: Id | None = None
    action: Action | None = None
    subject: Annotated[str, msgspec.Meta(max_length=300)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    namespace: Name | None = None


class AuditView(Output):
    """A record. `writer` and `seq` name its place in a chain, whose hash it carries."""

    writer: str
    seq: int
    at: str
    namespace: str
    actor: str
    action: str
    details: dict[str, Any]
    hash: str
    key_id: str | None = None
    subject: str | None = None


class AuditPage(Page):
    """`GET /audit`, newest first."""

    records: list[AuditView] = []
