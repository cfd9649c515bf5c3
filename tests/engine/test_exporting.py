"""Spans of sessions that ended, sent to a collector that is there, or is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from opscore.debugging.spans import span_id_of
from opscore.engine import exporting
from opscore.engine.exporting import ExportState
from opscore.telemetry import measures as m
from opscore.telemetry.otlp.target import Target, headers_of
from tests.channels.agents import Endpoint, Heard, Said, endpoint
from tests.engine.whole import Whole, until, whole

VALUE = {"a": {"value": 7}}
ABOVE = f"00-{'a' * 32}-{'b' * 16}-01"


def taken(_: Heard) -> Said:
    return web.Response(body=b"", content_type="application/x-protobuf")


def says(status: int, **headers: str) -> Callable[[Heard], Said]:
    return lambda _: web.Response(status=status, headers=headers)


def in_turn(
    answers: list[Callable[[Heard], Said]], *, keep: bool = False
) -> Callable[[Heard], Said]:
    """The first of these answers, and then the next, unless it is kept."""

    def answer(heard: Heard) -> Said:
        one = answers[0] if keep else answers.pop(0)
        return one(heard)

    return answer


def to(there: Endpoint, **more: Any) -> Target:
    return Target(there.url.removesuffix("/agent"), **more)


def spans_in(heard: Heard) -> list[Span]:
    assert heard.headers["content-encoding"] == "gzip"  # undone by the listener
    request = ExportTraceServiceRequest.FromString(heard.raw)
    return [
        span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans
    ]


def state(w: Whole) -> ExportState:
    assert w.engine.exporting is not None
    return w.engine.exporting.state


async def ran(w: Whole, count: int = 1, **more: Any) -> list[str]:
    await w.apply(VALUE)
    sessions = [await w.ops.start("t", **more) for _ in range(count)]
    for session in sessions:
        await w.ended(session)
    return sessions


async def passing(w: Whole, true: Callable[[], Any]) -> None:
    """Let time pass until something is the case; the test's own timeout bounds it."""
    while not true():
        await w.pass_by(1)


def counted(w: Whole, metric: m.Metric) -> float:
    return sum(w.engine.measures.counted(metric).values())


async def test_a_session_that_ended_is_sent_with_all_its_spans() -> None:
    async with endpoint(taken) as there:
        target = to(there, headers={"authorization": "Bearer x"})
        async with whole(export=target) as w:
            await w.apply({"a": {"capability": "work", "retry": 1}})
            worker = await w.worker()
            session = await w.ops.start("t", trace_id="a" * 32, traceparent=ABOVE)
            (attempt,) = await worker.got(1)
            await w.pass_by(3)
            assert not there.heard, "nothing is sent before the end"
            await worker.settle(attempt, outcome="failed")
            await w.ended(session)
            await passing(w, lambda: there.heard)
            (heard,) = there.heard
            assert there.paths == ["/v1/traces"]
            assert heard.headers["authorization"] == "Bearer x"
            assert heard.headers["content-type"] == "application/x-protobuf"
            spans = {span.name: span for span in spans_in(heard)}
            root, work = spans["invoke_workflow t"], spans["invoke_agent worker"]
            assert {span.trace_id.hex() for span in spans.values()} == {"a" * 32}
            assert root.parent_span_id.hex() == "b" * 16
            assert root.span_id.hex() == span_id_of("a" * 32, session)
            assert work.parent_span_id == spans["step a"].span_id
            assert work.kind == Span.SPAN_KIND_CLIENT
            assert work.status.code == root.status.code == 2
            assert work.end_time_unix_nano - work.start_time_unix_nano == 3_000_000_000
            told = {pair.key: pair.value.string_value for pair in root.attributes}
            assert told["gen_ai.conversation.id"] == session
            assert told["opscore.namespace"] == "default"
            assert set(spans) == {one.name for one in (await _trace(w, session)).spans}
            await until(lambda: counted(w, m.EXPORTED_SPANS) == len(spans))


async def _trace(w: Whole, session: str) -> Any:
    return (await w.engine.debugging.trace(session)).trace


@pytest.mark.parametrize(
    ("sample", "above", "sent"),
    [(1.0, None, True), (0.0, None, False), (0.0, ABOVE, True), (1.0, ABOVE[:-1] + "0", False)],
)
async def test_the_caller_decides_and_else_the_traces_id(
    sample: float, above: str | None, sent: bool
) -> None:
    async with endpoint(taken) as there, whole(export=to(there, sample=sample)) as w:
        trace = None if above is None else above[3:35]
        await ran(w, trace_id=trace, traceparent=above)
        assert state(w).waiting == int(sent)


def test_a_share_of_traces_is_taken_and_always_the_same() -> None:
    target = Target("http://x", sample=0.1)
    traces = [f"{'0' * 16}{(2 * n + 1) * 2**64 // 2_000:016x}" for n in range(1_000)]
    assert sum(target.takes(one, None) for one in traces) == 100


async def test_a_collector_that_is_down_holds_up_nothing_and_is_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporting, "WAITING_LIMIT", 3)
    monkeypatch.setattr(exporting, "AT_ONCE", 1)
    answers: list[Callable[[Heard], Said]] = [says(503)]
    async with endpoint(in_turn(answers, keep=True)) as there, whole(export=to(there)) as w:
        await ran(w)
        await passing(w, lambda: state(w).problem)
        assert state(w).problem == "the collector answered 503"
        assert w.engine.ready() == []
        await ran(w, 5)
        assert (state(w).waiting, state(w).dropped) == (3, 2)
        assert w.engine.measures.counted(m.EXPORT_DROPPED) == {("full",): 2}
        first = there.heard[0].raw
        assert all(heard.raw == first for heard in there.heard), "the same request comes again"
        answers[0] = taken
        await passing(w, lambda: state(w) == ExportState(None, 0, 2))
        await until(lambda: counted(w, m.EXPORTED_SPANS) == 4 * 2)


async def test_nobody_there_is_a_problem_too() -> None:
    async with endpoint(taken) as there:
        await there.close()
        async with whole(export=to(there)) as w:
            await ran(w)
            await passing(w, lambda: state(w).problem)
            assert "cannot be reached" in (state(w).problem or "")


async def test_it_comes_again_when_it_is_told_to() -> None:
    answers = [says(429, **{"Retry-After": "40"}), taken]
    async with endpoint(in_turn(answers)) as there, whole(export=to(there)) as w:
        await ran(w)
        await passing(w, lambda: state(w).problem)
        await w.pass_by(35)
        assert len(there.heard) == 1
        await w.pass_by(10)
        await until(lambda: len(there.heard) == 2)


async def test_what_is_refused_is_counted_and_the_next_is_sent() -> None:
    answers = [says(400), taken]
    async with endpoint(in_turn(answers)) as there, whole(export=to(there)) as w:
        await ran(w)
        await passing(w, lambda: state(w).dropped)
        assert "answered 400" in (state(w).problem or "")
        await ran(w)
        await passing(w, lambda: state(w).problem is None)
        assert w.engine.measures.counted(m.EXPORT_DROPPED) == {("refused",): 1}


async def test_a_partial_success_is_told() -> None:
    partial = ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
    body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()

    def answer(_: Heard) -> Said:
        return web.Response(body=body, content_type="application/x-protobuf")

    async with endpoint(answer) as there, whole(export=to(there)) as w:
        await ran(w)
        await passing(w, lambda: state(w).problem)
        assert state(w).problem == "1 spans were rejected: too old"
        assert counted(w, m.EXPORTED_SPANS) == 1


async def test_a_mistake_of_exporting_reaches_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError

    async with endpoint(taken) as there, whole(export=to(there)) as w:
        monkeypatch.setattr(exporting, "requests_of", broken)
        await ran(w)
        await passing(w, lambda: state(w).dropped)
        monkeypatch.undo()
        await ran(w)
        await passing(w, lambda: there.heard)
        assert w.engine.ready() == []


async def test_what_ended_just_before_the_stop_is_sent() -> None:
    async with endpoint(taken) as there:
        async with whole(export=to(there)) as w:
            await ran(w)
            async with asyncio.TaskGroup() as group:
                group.create_task(w.engine.close(10))
                await w.calm()
                w.clock.move(1.1)
        assert len(there.heard) == 1


def test_headers_are_read_as_opentelemetry_writes_them() -> None:
    assert headers_of("Authorization=Bearer%20x=, b=2,") == {"authorization": "Bearer x=", "b": "2"}
    with pytest.raises(ValueError, match="name=value"):
        headers_of("Authorization: Bearer x")
