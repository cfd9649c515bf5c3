"""Attempts, settlements and verdicts between the wire and the engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from opscore.channels.documents import payload
from opscore.core.types import SECOND, ErrorInfo, Micros
from opscore.engine.records import ClaimedAttempt, SettlementReport, VerdictRecord
from opscore.wire.agent import Attempt
from opscore.wire.task import Settlement, TaskError, Usage, Verdict

_encode = msgspec.json.Encoder().encode


def moment(at: Micros) -> str:
    """RFC 3339 in UTC with microseconds."""
    seconds, micros = divmod(at, SECOND)
    return f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    # Neighbouring attempts share their second; formatting it anew costs four times the rest.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def moment_or_none(at: Micros | None) -> str | None:
    """As `moment`, for times that may be missing."""
    return None if at is None else moment(at)


def attempt_view(claimed: ClaimedAttempt) -> Attempt:
    """A claimed attempt as an agent receives it."""
    return Attempt(
        task_id=claimed.task_id,
        attempt=claimed.attempt,
        session_id=claimed.session_id,
        step=claimed.step,
        capability=claimed.capability,
        agent=claimed.agent,
        input=msgspec.Raw(claimed.input),
        context=msgspec.Raw(claimed.context),
        idempotency_key=claimed.idempotency_key,
        lease_until=moment(claimed.lease_until),
        deadline=moment_or_none(claimed.deadline),
        traceparent=claimed.traceparent,
        lease_seconds=msgspec.UNSET if claimed.heartbeat is None else claimed.heartbeat / SECOND,
    )


def report_of(settlement: Settlement, pointer: str = "") -> SettlementReport:
    """What an agent says of one attempt, with checked payloads. Raises `Invalid`."""
    return SettlementReport(
        task_id=settlement.task_id,
        attempt=settlement.attempt,
        outcome=settlement.outcome,
        output=payload(settlement.output, f"{pointer}/output"),
        error=error_of(settlement.error),
        usage=usage_of(settlement.usage),
    )


def reports_of(settlements: Sequence[Settlement]) -> list[SettlementReport]:
    """A batch of reports; faults point into `/settlements`."""
    return [report_of(one, f"/settlements/{index}") for index, one in enumerate(settlements)]


def error_of(error: TaskError | None) -> ErrorInfo | None:
    """The core's error from the wire's."""
    if error is None:
        return None
    after = error.retry_after_seconds
    return ErrorInfo(
        error.error_class, error.message, None if after is None else round(after * SECOND)
    )


def error_view(error: ErrorInfo | None) -> TaskError | None:
    """The wire's error from the core's."""
    if error is None:
        return None
    after = error.retry_after
    return TaskError(
        error_class=error.error_class,
        message=error.message,
        retry_after_seconds=None if after is None else after / SECOND,
    )


def usage_of(usage: Usage | None) -> msgspec.Raw | None:
    """Tokens and cost as the journal keeps them."""
    return None if usage is None else msgspec.Raw(_encode(usage))


def verdict_view(record: VerdictRecord) -> Verdict:
    """A verdict on the wire."""
    return msgspec.convert(record, Verdict, from_attributes=True)
