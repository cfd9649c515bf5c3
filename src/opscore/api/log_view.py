"""Log records as the wire shows them."""

from __future__ import annotations

from opscore.channels.attempts import moment
from opscore.core.logs import LogRecord
from opscore.wire.log import LogView


def log_view(one: LogRecord) -> LogView:
    """A record on the wire."""
    return LogView(
        log_id=one.log_id,
        at=moment(one.at),
        level=one.level,  # pyright: ignore[reportArgumentType] - only these are kept
        operation=one.operation,
        namespace=one.namespace,
        message=one.message,
        agent_id=one.agent_id,
        agent=one.agent,
        session_id=one.session_id,
        task_id=one.task_id,
        attempt=one.attempt,
        trace_id=one.trace_id,
        span_id=one.span_id,
        error_type=one.error_type,
        error_code=one.error_code,
        actor=one.actor,
        reported_at=one.reported_at,
        context=dict(one.context),
    )
