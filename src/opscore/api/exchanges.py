"""What was asked of agents and what they answered, as people may see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from opscore.channels.attempts import error_view, moment, moment_or_none
from opscore.core.types import SECOND, ErrorInfo, Json
from opscore.debugging.usage import Usage
from opscore.engine.records import AttemptRecord
from opscore.telemetry.logs import struck
from opscore.wire import task

SHOWN = 4_096
"""Characters of a document, and of an error's message."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


def attempt_views(records: Sequence[AttemptRecord]) -> list[task.AttemptView]:
    """The attempts of one task. All were given the same input, which is made ready once."""
    asked = exchanged(records[0].input) if records else None
    return [_attempt(one, asked) for one in records]


def _attempt(record: AttemptRecord, asked: task.Exchanged | None) -> task.AttemptView:
    error, ended = record.error, record.ended_at
    return task.AttemptView(
        attempt=record.attempt,
        agent_id=record.agent_id,
        instance_id=record.instance_id,
        started_at=moment(record.started_at),
        ended_at=moment_or_none(ended),
        seconds=None if ended is None else (ended - record.started_at) / SECOND,
        outcome=record.outcome,
        error=error_view(None if error is None else _bounded(error)),
        http_status=None if error is None else error.http_status,
        usage=None if record.usage is None else _usage(record.usage),
        input=asked,
        reply=exchanged(record.reply),
    )


def exchanged(document: Json | None) -> task.Exchanged | None:
    """A document without its secrets, cut to what a person reads; None when there is none."""
    if document is None:
        return None
    text = _encode(struck(msgspec.json.decode(document))).decode()
    cut = len(text) > SHOWN
    return task.Exchanged(text=text[:SHOWN], bytes=len(bytes(document)), cut=cut)


def _bounded(error: ErrorInfo) -> ErrorInfo:
    if len(error.message) <= SHOWN:
        return error
    return replace(error, message=error.message[:SHOWN] + "…")


def _usage(usage: Usage) -> task.Usage:
    return task.Usage(
        model=next(iter(usage.models), None),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=usage.cost_usd,
    )
