"""The routes of every noun of the API, in the order in which people read of them."""

from __future__ import annotations

from collections.abc import Sequence

from opscore.api import (
    agent,
    approval,
    audit,
    bulk,
    event,
    key,
    limit,
    log,
    metrics,
    notify,
    otlp,
    queue,
    schedule,
    session,
    system,
    task,
    trace,
    workflow,
)
from opscore.api.route import Routes

NOUNS: Sequence[Routes] = (
    agent.routes,
    notify.routes,
    workflow.routes,
    session.routes,
    approval.routes,
    schedule.routes,
    task.routes,
    trace.routes,
    event.routes,
    log.routes,
    limit.routes,
    queue.routes,
    bulk.routes,
    key.routes,
    audit.routes,
    system.routes,
    metrics.routes,
    otlp.routes,
)
