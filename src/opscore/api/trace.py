"""Routes of traces over all sessions; the trace of one is a route of sessions."""

from __future__ import annotations

from opscore.api.answer import ok
from opscore.api.call import Call
from opscore.api.route import Reply, Routes
from opscore.api.traces import slowest_view, usage_report
from opscore.api.views import since_of
from opscore.wire.queries import SlowestQuery, UsageQuery
from opscore.wire.trace import SlowestView, UsageReport

routes = Routes("trace")


@routes.query("/trace/slowest", "session:read", SlowestQuery, {200: SlowestView})
async def slowest(call: Call, query: SlowestQuery) -> Reply:
    """Name the slowest steps and capabilities, by the newest 20,000 events of the server."""
    since = since_of(query.since, call.engine.store.now(), "/since")
    found = await call.engine.debugging.slowest(
        since=since, limit=query.limit, namespace=call.namespace
    )
    return ok(slowest_view(found))


@routes.query("/usage", "session:read", UsageQuery, {200: UsageReport})
async def usage(call: Call, query: UsageQuery) -> Reply:
    """Sum up tokens and cost by agent, capability, day or workflow, of the newest 200,000 events."""
    since = since_of(query.since, call.engine.store.now(), "/since")
    found = await call.engine.debugging.usage(query.by, since=since, namespace=call.namespace)
    return ok(usage_report(since, query.by, found))
