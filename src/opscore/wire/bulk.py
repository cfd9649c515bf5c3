"""Changes by filter."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from opscore.wire.base import Id, Input, Name, Output, Text
from opscore.wire.task import TaskWord

OpenWord = Literal["waiting", "processing", "paused"]


class RetryTasks(Input):
    """`POST /task/retry`: dead letters, all or those that fit.

    `attempts` bounds what each may have from now on, in place of the template's policy.
    """

    agent: Id | None = None
    capability: Name | None = None
    session: Id | None = None
    workflow: Name | None = None
    error_class: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    attempts: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    dry_run: bool = False


class FallbackTasks(Input):
    """`POST /task/fallback`: dead letters, or tasks of a `status`, all or those that fit."""

    status: TaskWord | None = None
    agent: Id | None = None
    capability: Name | None = None
    session: Id | None = None
    workflow: Name | None = None
    error_class: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    dry_run: bool = False


class CancelSessions(Input):
    """`POST /session/cancel`: the sessions that fit and have not ended; one filter at least."""

    workflow: Name | None = None
    status: OpenWord | None = None
    agent: Id | None = None
    label: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    since: str | None = None
    until: str | None = None
    reason: Text = ""
    dry_run: bool = False


class RefusedChange(Output):
    """One that was found and could not be changed."""

    id: str
    detail: str


class BulkAnswer(Output):
    """What a change by filter found and did; under `dryRun` what it would try.

    `ids` are those found, a thousand at most; `more`: there were more, so ask again.
    """

    dry_run: bool
    matched: int
    changed: int
    ids: list[str]
    refused: list[RefusedChange]
    more: bool
