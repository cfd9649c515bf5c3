"""What an agent says over its connection, as a log record."""

from __future__ import annotations

from opscore.core.logs import LEVELS, LogRecord
from opscore.core.types import Micros
from opscore.wire.stream import Log

OPERATION_LIMIT = 128


def said(message: Log, namespace: str, agent_id: str, at: Micros) -> LogRecord:
    """The record of a `log` message; a level that is none counts as `info`."""
    return LogRecord(
        at=at,
        level=message.level if message.level in LEVELS else "info",
        operation=message.operation[:OPERATION_LIMIT] or "log",
        namespace=namespace,
        message=message.message,
        agent_id=agent_id,
        task_id=message.task_id or None,
        attempt=message.attempt or None,
        trace_id=message.trace_id,
        span_id=message.span_id,
        error_type=message.error_type,
        error_code=message.error_code,
        reported_at=message.at,
        context=message.fields,
    )
