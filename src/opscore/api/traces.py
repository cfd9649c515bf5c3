"""Traces as the wire shows them."""

from __future__ import annotations

from opscore.channels.attempts import moment, moment_or_none
from opscore.core.types import SECOND, Micros
from opscore.debugging.critical import CriticalPath
from opscore.debugging.session_spans import CONVENTIONS
from opscore.debugging.slowest import Quantiles, Slow, Slowest
from opscore.debugging.spans import Span
from opscore.debugging.trace import Trace
from opscore.debugging.usage import Spent, Usage
from opscore.engine.traces import SessionTrace, UsageSums
from opscore.wire.trace import (
    Bottleneck,
    CriticalPathView,
    QuantilesView,
    SlowestView,
    SlowView,
    SpanEventView,
    SpanView,
    SpentBy,
    SpentView,
    TraceUsage,
    TraceView,
    UsageReport,
    UsageView,
)

CENTS = 9
"""Decimals of a cost: sums of floats have more, and they mean nothing."""


def trace_view(record: SessionTrace) -> TraceView:
    """A session's trace."""
    trace = record.trace
    view = TraceView(
        session_id=record.session_id,
        trace_id=trace.trace_id,
        workflow=record.workflow,
        version=record.version,
        status=record.status.value,
        at=moment(record.at),
        truncated=record.truncated,
        conventions=CONVENTIONS,
        spans=[_span(span, record.at) for span in trace.spans],
        critical_path=_path(trace.path),
    )
    if trace.steps:
        view.usage = _usage_of(trace)
    if record.problem is not None:
        view.problem = record.problem
    return view


def _span(span: Span, now: Micros) -> SpanView:
    return SpanView(
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        kind=span.kind,
        session_id=span.session_id,
        start_at=moment(span.started_at),
        end_at=moment_or_none(span.ended_at),
        seconds=((now if span.ended_at is None else span.ended_at) - span.started_at) / SECOND,
        status=span.status,
        critical=span.critical,
        attributes=span.attributes,
        events=[
            SpanEventView(name=one.name, at=moment(one.at), attributes=one.attributes)
            for one in span.events
        ],
    )


def _path(path: CriticalPath) -> CriticalPathView:
    spent = path.by_kind.get
    return CriticalPathView(
        total_seconds=path.total / SECOND,
        queue_seconds=spent("queue", 0) / SECOND,
        work_seconds=spent("work", 0) / SECOND,
        delay_seconds=spent("delay", 0) / SECOND,
        wait_seconds=spent("wait", 0) / SECOND,
        approval_seconds=spent("approval", 0) / SECOND,
        rest_seconds=path.rest / SECOND,
        bottleneck=_bottleneck(path),
    )


def _bottleneck(path: CriticalPath) -> Bottleneck | None:
    found = path.bottleneck
    if found is None:
        return None
    where, passed = found
    return Bottleneck(
        kind=where.kind,
        session_id=where.session_id,
        step=where.step,
        target=where.target,
        seconds=passed / SECOND,
        share=round(passed / path.total, 4),
    )


def _usage_of(trace: Trace) -> TraceUsage:
    spent = trace.spent
    steps = {name: spent_view(step) for name, step in trace.steps.items()}
    return TraceUsage(total=_usage(spent.total), wasted=_usage(spent.wasted), steps=steps)


def spent_view(spent: Spent) -> SpentView:
    """What was spent, and what of it in vain."""
    return SpentView(total=_usage(spent.total), wasted=_usage(spent.wasted))


def _usage(usage: Usage) -> UsageView:
    return UsageView(
        attempts=usage.attempts,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=round(usage.cost_usd, CENTS),
        models=sorted(usage.models),
    )


def slowest_view(found: Slowest) -> SlowestView:
    """The slowest steps and capabilities."""
    return SlowestView(
        since=moment(found.since),
        steps=[_slow(one) for one in found.steps],
        targets=[_slow(one) for one in found.capabilities],
        truncated=found.truncated,
    )


def _slow(slow: Slow) -> SlowView:
    return SlowView(
        target=slow.target,
        workflow=slow.workflow,
        step=slow.step,
        queue=_quantiles(slow.queue),
        work=_quantiles(slow.work),
    )


def _quantiles(found: Quantiles | None) -> QuantilesView | None:
    if found is None:
        return None
    return QuantilesView(
        count=found.count,
        p50_seconds=found.p50 / SECOND,
        p95_seconds=found.p95 / SECOND,
        p99_seconds=found.p99 / SECOND,
        max_seconds=found.most / SECOND,
    )


def usage_report(since: Micros, by: str, found: UsageSums) -> UsageReport:
    """What each group spent."""
    groups = [
        SpentBy(name=name, total=_usage(spent.total), wasted=_usage(spent.wasted))
        for name, spent in found.groups.items()
    ]
    groups.sort(key=lambda one: (-one.total.cost_usd, one.name))
    return UsageReport(since=moment(since), by=by, groups=groups, truncated=found.truncated)
