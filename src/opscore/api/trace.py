"""Routes of traces over all sessions; the trace of one is a route of sessions."""

from __future__ import annotations

from opscore.api.answer import ok
from opscore.api.call import Call
from opscore.api.route import Reply, Routes
from opscore.api.traces import slowest_view
from opscore.api.views import since_of
from opscore.wire.queries import SlowestQuery
from opscore.wire.trace import SlowestView

routes = Routes("trace")


@routes.query("/trace/slowest", "session:read", SlowestQuery, {200: SlowestView})
async def slowest(call: Call, query: SlowestQuery) -> Reply:
    """Name the slowest steps and capabilities, by the newest 20,000 events of the server."""
    since = since_of(query.since, call.engine.store.now(), "/since")
    found = await call.engine.debugging.slowest(
        since=since, limit=query.limit, namespace=call.namespace
    )
    return ok(slowest_view(found))
