"""Routes of limits."""

from __future__ import annotations

from opscore.api.answer import ok
from opscore.api.call import Call
from opscore.api.route import Reply, Routes
from opscore.channels.attempts import moment_or_none
from opscore.core.limits import Shut
from opscore.core.types import SECOND
from opscore.wire.limit import LimitPage, LimitView
from opscore.wire.queries import PageQuery

routes = Routes("limit")


@routes.query("/limit", "session:read", PageQuery, {200: LimitPage})
async def list_limits(call: Call, query: PageQuery) -> Reply:
    """List the concurrency and rate keys in use: limit, in use, by whom, how many wait."""
    found = await call.engine.debugging.limits(namespace=call.namespace)
    after = [each for each in found if query.cursor is None or _name(each) > query.cursor]
    page = after[: query.limit]
    following = _name(page[-1]) if len(after) > len(page) else None
    return ok(LimitPage(limits=[_view(each) for each in page], next_cursor=following))


def _name(limit: Shut) -> str:
    return f"{limit.kind}/{limit.key}"


def _view(limit: Shut) -> LimitView:
    rate, sessions = limit.kind == "rate", limit.kind == "sessions"
    return LimitView(
        kind="rate" if rate else "sessions" if sessions else "concurrency",
        key=limit.key,
        limit=limit.limit,
        in_use=limit.in_use,
        waiting=limit.ahead,
        holders=[] if sessions else list(limit.holders),
        sessions=[session for session, _ in limit.holders] if sessions else [],
        per_seconds=limit.per / SECOND if rate else None,
        opens_at=moment_or_none(limit.until),
    )
