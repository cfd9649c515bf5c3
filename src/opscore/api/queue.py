"""Routes of queues."""

from __future__ import annotations

from opscore.api.answer import ok
from opscore.api.call import Call
from opscore.api.route import Reply, Routes
from opscore.telemetry import measures as m
from opscore.wire.queries import PageQuery
from opscore.wire.queue import QueuePage, QueueView

routes = Routes("queue")


@routes.query("/queue", "session:read", PageQuery, {200: QueuePage})
async def list_queues(call: Call, query: PageQuery) -> Reply:
    """List by capability how many tasks wait, for how long, and how many run."""
    reading = await call.engine.gauges(call.namespace)
    tasks, ages = reading[m.TASKS], reading[m.QUEUE_AGE]
    after = query.cursor or ""
    # The cursor is a name behind a letter, so that the queue without a name has one too.
    names = sorted({name for _, name, _ in tasks} | {name for _, name in ages})
    left = [name for name in names if f"c{name}" > after]
    page = left[: query.limit]

    def count(name: str, status: str) -> int:
        return int(tasks.get((call.namespace, name, status), 0))

    queues = [
        QueueView(
            capability=name or None,
            available=count(name, "available"),
            blocked=count(name, "blocked"),
            running=count(name, "running"),
            scheduled=count(name, "scheduled"),
            oldest_seconds=ages.get((call.namespace, name)),
        )
        for name in page
    ]
    following = f"c{page[-1]}" if len(left) > len(page) else None
    return ok(QueuePage(queues=queues, next_cursor=following))
