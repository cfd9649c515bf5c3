"""Traces of sessions that a whole engine ran on a clock moved by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from opscore.core.errors import NotFound
from opscore.core.types import SECOND, ErrorInfo
from opscore.debugging.spans import Span
from opscore.engine import traces as traces_module
from opscore.engine.traces import SessionTrace
from tests.engine.whole import Whole, Worker, whole

ONCE = {"capability": "work"}
SMALL = msgspec.Raw(b'{"model":"small","inputTokens":10,"outputTokens":2,"costUsd":0.5}')


async def trace_of(w: Whole, session_id: str) -> SessionTrace:
    await w.calm()
    found = await w.engine.debugging.trace(session_id)
    whole_and_sound(found)
    return found


def whole_and_sound(found: SessionTrace) -> None:
    """What holds of every trace."""
    spans = found.trace.spans
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans), "an id twice"
    assert all(len(one) == 16 and int(one, 16) for one in by_id)
    for span in spans:
        if span is not found.trace.root:
            above = by_id[span.parent_id or ""]
            assert above.started_at <= span.started_at
        if found.status in {"completed", "error", "cancelled"}:
            assert span.ended_at is not None, f"{span.name} was left open"
    path = found.trace.path
    assert sum(path.by_kind.values()) + path.rest == path.total
    assert sum(path.by_stretch.values()) == sum(path.by_kind.values())


def seconds(span: Span) -> float:
    assert span.ended_at is not None
    return (span.ended_at - span.started_at) / SECOND


def told(found: SessionTrace, kind: str) -> list[tuple[str, float, str]]:
    """Name, seconds and status of the spans of one kind."""
    spans = [span for span in found.trace.spans if span.kind == kind]
    return [(span.name, seconds(span), span.status) for span in spans]


async def failed(worker: Worker, attempt: Any, word: str = "timeout") -> None:
    error = ErrorInfo(word, "too slow")
    await worker.settle(attempt, outcome="failed", error=error, usage=SMALL)


async def test_queue_and_work_are_apart_and_retries_show() -> None:
    retry = {"maxAttempts": 2, "initialDelay": "4s", "jitter": 0}
    async with whole() as w:
        await w.apply({"a": {**ONCE, "retry": retry}})
        session = await w.ops.start("t")
        await w.pass_by(3)
        worker = await w.worker()
        (first,) = await worker.got(1)
        await w.pass_by(2)
        await failed(worker, first)
        await w.pass_by(4)
        _, second = await worker.got(2)
        await w.pass_by(1)
        await worker.settle(second, usage=SMALL)
        found = await trace_of(w, session)
    assert told(found, "queue") == [("queue work", 3, "unset"), ("queue work", 0, "unset")]
    assert told(found, "delay") == [("delay work", 4, "unset")]
    name = "invoke_agent worker"
    assert told(found, "work") == [(name, 2, "error"), (name, 1, "ok")]
    path = found.trace.path
    assert {kind: micros / SECOND for kind, micros in path.by_kind.items()} == {
        "queue": 3,
        "work": 3,
        "delay": 4,
    }
    assert path.bottleneck is not None
    where, most = path.bottleneck
    assert (where.kind, where.step, where.target, most) == ("delay", "a", "work", 4 * SECOND)
    assert all(span.critical for span in found.trace.spans)
    assert found.trace.spent.total.cost_usd == 1.0
    assert (found.trace.spent.wasted.cost_usd, found.trace.spent.wasted.attempts) == (0.5, 1)
    assert found.trace.steps["a"].total.input_tokens == 20


async def test_traceparent_names_the_span_of_the_attempt() -> None:
    async with whole() as w:
        await w.apply({"a": {**ONCE, "retry": {"maxAttempts": 2, "initialDelay": "1s"}}})
        session = await w.ops.start("t", trace_id="ab" * 16)
        worker = await w.worker()
        (first,) = await worker.got(1)
        await failed(worker, first)
        await w.pass_by(2)
        attempts = await worker.got(2)
        found = await trace_of(w, session)
        work = [span for span in found.trace.spans if span.kind == "work"]
        assert [one.traceparent for one in attempts] == [
            f"00-{'ab' * 16}-{span.span_id}-01" for span in work
        ]
        assert work[1].ended_at is None, "it still runs"
        assert (await trace_of(w, session)).trace.spans == found.trace.spans


async def test_attributes_follow_the_conventions() -> None:
    async with whole() as w:
        await w.apply({"a": ONCE})
        session = await w.ops.start("t")
        worker = await w.worker()
        (attempt,) = await worker.got(1)
        await worker.settle(attempt, usage=SMALL)
        root, _, _, work = (await trace_of(w, session)).trace.spans
    assert root.name == "invoke_workflow t"
    assert root.attributes["gen_ai.operation.name"] == "invoke_workflow"
    assert root.attributes["gen_ai.workflow.name"] == "t"
    assert work.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": worker.agent_id,
        "gen_ai.agent.name": "worker",
        "gen_ai.conversation.id": session,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.response.model": "small",
        "opscore.usage.cost_usd": 0.5,
        "opscore.capability": "work",
        "opscore.instance.id": "i1",
        "opscore.step.name": "a",
        "opscore.task.attempt": 1,
        "opscore.task.id": attempt.task_id,
    }


async def test_only_the_slower_branch_is_critical() -> None:
    async with whole() as w:
        steps = {"fast": ONCE, "slow": ONCE, "last": {**ONCE, "needs": ["fast", "slow"]}}
        await w.apply(steps)
        worker = await w.worker(slots=2)
        session = await w.ops.start("t")
        by_step = {one.step: one for one in await worker.got(2)}
        await w.pass_by(1)
        await worker.settle(by_step["fast"])
        await w.pass_by(2)
        await worker.settle(by_step["slow"])
        *_, last = await worker.got(3)
        await w.pass_by(1)
        await worker.settle(last)
        found = await trace_of(w, session)
    steps = {span.step: span.critical for span in found.trace.spans if span.kind == "step"}
    assert steps == {"fast": False, "slow": True, "last": True}
    assert found.trace.path.by_kind == {"work": 4 * SECOND, "queue": 0}


async def test_children_are_within_the_span_of_their_parent() -> None:
    async with whole() as w:
        await w.apply({"x": ONCE}, name="inner")
        await w.apply({"call": {"workflow": "inner"}})
        session = await w.ops.start("t")
        worker = await w.worker()
        (attempt,) = await worker.got(1)
        await w.pass_by(5)
        await worker.settle(attempt, usage=SMALL)
        await w.ended(session)
        found = await trace_of(w, session)
        inner = await trace_of(w, attempt.session_id)
    kinds = [span.kind for span in found.trace.spans]
    assert kinds == ["workflow", "step", "child", "workflow", "step", "queue", "work"]
    child = found.trace.spans[2]
    assert inner.trace.root.parent_id == child.span_id
    assert inner.trace.spans == found.trace.spans[3:]
    assert inner.trace.trace_id == found.trace.trace_id
    assert found.trace.path.bottleneck is not None
    where, most = found.trace.path.bottleneck
    assert (where.session_id, where.step, most) == (attempt.session_id, "x", 5 * SECOND)
    assert set(found.trace.steps) == {"call"}, (
        "a child's spending is that of the step that began it"
    )
    assert found.trace.spent.total.cost_usd == 0.5


async def test_people_waits_values_and_fallbacks_show() -> None:
    async with whole() as w:
        steps: dict[str, Any] = {
            "rest": {"wait": "5s"},
            "ask": {"needs": "rest", "approval": {"title": "Go?"}},
            "sum": {"needs": "ask", "value": "${{ 1 + 1 }}"},
            "never": {"needs": "ask", "if": "${{ false }}", "value": 1},
            "a": {"needs": "sum", **ONCE, "retry": 1, "fallback": [{"capability": "other"}]},
        }
        await w.apply(steps)
        worker = await w.worker(("work", "other"))
        session = await w.ops.start("t")
        await w.pass_by(6)
        (asked,) = (await w.ops.list_approvals()).items
        await w.pass_by(10)
        await w.ops.approve(asked.approval_id, asked.content_hash, by="ada")
        (first,) = await worker.got(1)
        await failed(worker, first)
        _, second = await worker.got(2)
        await worker.settle(second)
        found = await trace_of(w, session)
    assert told(found, "wait") == [("wait", 5, "ok")]
    assert told(found, "approval") == [("approval Go?", 11, "ok")]
    assert [name for name, *_ in told(found, "queue")] == ["queue work", "queue other"]
    last = found.trace.spans[-1]
    assert (last.attributes["opscore.fallback"], last.critical) == (1, True)
    skipped = [span.step for span in found.trace.spans if "opscore.step.skipped" in span.attributes]
    assert skipped == ["never"]
    assert Counter(span.kind for span in found.trace.spans)["step"] == 5


async def test_what_is_undone_has_a_span_of_its_own() -> None:
    async with whole() as w:
        undo = {"compensate": {"capability": "undo"}}
        await w.apply({"a": {**ONCE, **undo}, "b": {"needs": "a", **ONCE, "retry": 1}})
        worker = await w.worker(("work", "undo"))
        session = await w.ops.start("t")
        (first,) = await worker.got(1)
        await worker.settle(first)
        _, second = await worker.got(2)
        await failed(worker, second, "fatal")
        *_, undoing = await worker.got(3)
        await w.pass_by(3)
        await worker.settle(undoing)
        found = await trace_of(w, session)
    assert told(found, "compensation") == [("compensate a", 3, "ok")]
    (span,) = [one for one in found.trace.spans if one.kind == "compensation"]
    below = [one.kind for one in found.trace.spans if one.parent_id == span.span_id]
    assert below == ["queue", "work"]
    assert found.trace.root.status == "error"
    assert found.trace.steps["b"].wasted.cost_usd == 0.5


async def test_a_session_that_is_tried_again_goes_on_in_its_trace() -> None:
    async with whole() as w:
        await w.apply({"a": {**ONCE, "retry": 1}})
        worker = await w.worker()
        session = await w.ops.start("t")
        (first,) = await worker.got(1)
        await failed(worker, first)
        await w.pass_by(60)
        assert (await trace_of(w, session)).trace.path.total == 0
        await w.ops.retry(session)
        _, second = await worker.got(2)
        await worker.settle(second)
        found = await trace_of(w, session)
    assert [
        span.attributes["opscore.step.run"] for span in found.trace.spans if span.kind == "step"
    ] == [1, 2]
    assert found.trace.root.status == "ok"
    assert "error.type" not in found.trace.root.attributes
    assert found.trace.path.rest == 60 * SECOND


async def test_more_events_than_are_read_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with whole() as w:
        await w.apply({"a": ONCE, "b": {"needs": "a", **ONCE}})
        worker = await w.worker()
        session = await w.ops.start("t")
        (first,) = await worker.got(1)
        await worker.settle(first)
        monkeypatch.setattr("opscore.engine.traces.EVENTS_READ", 3)
        monkeypatch.setattr("opscore.engine.traces.PAGE", 2)
        found = await trace_of(w, session)
    assert found.truncated
    assert [span.kind for span in found.trace.spans] == ["workflow", "step", "queue", "work"]


async def test_what_nobody_knows_is_not_found() -> None:
    async with whole() as w:
        await w.apply({"a": ONCE})
        session = await w.ops.start("t")
        for one, namespace in (("ses_none", "default"), (session, "other")):
            with pytest.raises(NotFound):
                await w.engine.debugging.trace(one, namespace=namespace)
        (task,) = (await w.ops.list_tasks(session=session)).items
        assert await w.engine.debugging.start_trace(task.task_id)
        record = await w.engine.debugging.end_trace(task.task_id)
        assert [span.kind for span in record.spans] == ["queue"]


async def test_a_session_and_its_attempts_say_what_was_spent() -> None:
    retry = {"maxAttempts": 2, "initialDelay": "1s"}
    async with whole() as w:
        await w.apply({"a": {**ONCE, "retry": retry}})
        worker = await w.worker()
        session = await w.ops.start("t")
        assert (await w.ops.get_session(session)).spent is None
        (first,) = await worker.got(1)
        await failed(worker, first)
        await w.calm()
        spent = (await w.ops.get_session(session)).spent
        assert spent is not None
        assert spent.total.cost_usd == spent.wasted.cost_usd == 0.5
        await w.pass_by(2)
        _, second = await worker.got(2)
        await worker.settle(second, usage=SMALL)
        await w.calm()
        for _ in range(2):
            spent = (await w.ops.get_session(session)).spent
            assert spent is not None
            assert (spent.total.attempts, spent.total.cost_usd, spent.wasted.cost_usd) == (
                2,
                1,
                0.5,
            )
        attempts = (await w.ops.get_task(first.task_id)).attempts
        assert [one.usage and one.usage.input_tokens for one in attempts] == [10, 10]


async def test_the_slowest_come_first() -> None:
    async with whole() as w:
        await w.apply({"a": ONCE, "b": {"needs": "a", "capability": "other"}})
        worker = await w.worker(("work", "other"))
        for seconds in range(1, 5):
            await w.ops.start("t")
            await w.pass_by(1)
            await worker.settle((await worker.got(2 * seconds - 1))[-1])
            await worker.got(2 * seconds)
            await w.pass_by(2 * seconds)
            await worker.settle(worker.given[-1])
        await w.calm()
        await w.engine.orchestration.create_workflow(
            {"name": "elsewhere", "version": "1", "steps": {"a": ONCE}}, namespace="other"
        )
        await w.ops.start("elsewhere", namespace="other")
        found = await w.engine.debugging.slowest()
        (only,) = (await w.engine.debugging.slowest(limit=1)).steps
        later = await w.engine.debugging.slowest(since=w.clock.now() - 7 * SECOND)
    assert [(one.workflow, one.step, one.target) for one in found.steps] == [
        ("t", "b", "other"),
        ("t", "a", "work"),
    ]
    assert [one.target for one in found.capabilities] == ["other", "work"]
    assert only.step == "b"
    assert only.work is not None
    assert (only.work.count, only.work.p50, only.work.p95) == (4, 4 * SECOND, 8 * SECOND)
    assert only.queue is not None
    assert only.queue.most == 0
    assert not later.steps, "the claim was before that"


async def test_queue_time_is_told_apart_from_work() -> None:
    async with whole() as w:
        await w.apply(
            {"a": {**ONCE, "retry": {"maxAttempts": 2, "initialDelay": "9s", "jitter": 0}}}
        )
        await w.ops.start("t")
        await w.pass_by(3)
        worker = await w.worker()
        (first,) = await worker.got(1)
        await w.pass_by(5)
        await failed(worker, first)
        await w.pass_by(9)
        _, second = await worker.got(2)
        await w.pass_by(7)
        await worker.settle(second)
        await w.calm()
        (slow,) = (await w.engine.debugging.slowest()).capabilities
    assert slow.queue is not None
    assert slow.work is not None
    assert (slow.queue.count, slow.queue.most) == (2, 3 * SECOND), "a delay is no queue"
    assert (slow.work.p50, slow.work.most) == (5 * SECOND, 7 * SECOND)


async def test_what_was_spent_by_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opscore.engine.traces.PAGE", 2)
    async with whole() as w:
        retry = {"maxAttempts": 2, "initialDelay": "1s"}
        await w.apply({"a": {**ONCE, "retry": retry}, "b": {"needs": "a", "capability": "other"}})
        first, second = (
            await w.worker(name="one"),
            await w.worker(("other",), name="two", instance="i2"),
        )
        await w.ops.start("t")
        await failed(first, (await first.got(1))[0])
        await w.pass_by(2)
        await first.settle((await first.got(2))[1], usage=SMALL)
        await second.settle((await second.got(1))[0], usage=SMALL)
        await w.calm()
        ask = w.engine.debugging.usage
        found = {
            by: {name: (one.total.cost_usd, one.wasted.cost_usd) for name, one in groups.items()}
            for by in ("agent", "capability", "day", "workflow")
            for groups in [(await ask(by, since=0)).groups]
        }
        assert found == {
            "agent": {"one": (1, 0.5), "two": (0.5, 0)},
            "capability": {"work": (1, 0.5), "other": (0.5, 0)},
            "day": {"2023-11-14": (1.5, 0.5)},
            "workflow": {"t": (1.5, 0.5)},
        }
        assert not (await ask("day", since=w.clock.now() + 1)).groups
        assert not (await ask("day", since=0, namespace="other")).groups
        (late,) = (await ask("workflow", since=w.clock.now() - SECOND)).groups.values()
        assert late.wasted.attempts == 0


async def test_the_root_is_a_child_of_the_callers_span() -> None:
    async with whole() as w:
        await w.apply({"a": ONCE})
        above = f"00-{'a' * 32}-{'b' * 16}-01"
        session = await w.ops.start("t", trace_id="a" * 32, traceparent=above)
        found = (await trace_of(w, session)).trace
        assert (found.trace_id, found.root.parent_id) == ("a" * 32, "b" * 16)


async def test_onerror_and_its_children_stand_in_the_trace_of_what_failed() -> None:
    async with whole() as w:
        await w.apply({"tell": {"capability": "work"}}, name="inner")
        await w.apply({"c": {"workflow": "inner"}}, name="notify")
        await w.apply({"a": {"capability": "work", "retry": 1}}, onError={"workflow": "notify"})
        above = f"00-{'a' * 32}-{'b' * 16}-01"
        worker = await w.worker()
        session = await w.ops.start("t", trace_id="a" * 32, traceparent=above)
        w.clock.move(1)
        (attempt,) = await worker.got(1)
        await failed(worker, attempt)
        (_, told) = await worker.got(2)
        assert told.trace_id == "a" * 32
        w.clock.move(5)
        await worker.settle(told, usage=SMALL)
        await w.calm()
        found = await trace_of(w, session)
        spans = {span.name: span for span in found.trace.spans}
        root, handling = spans["invoke_workflow t"], spans["invoke_workflow notify"]
        inner = spans["invoke_workflow inner"]
        assert root.parent_id == "b" * 16
        assert handling.parent_id == root.span_id
        assert (handling.session_id, inner.session_id) == (
            f"{session}_e{found_failure(await w.ops.history(session))}",
            f"{handling.session_id}_1",
        )
        assert not any(span.critical for span in (handling, inner))
        assert found.trace.path.total == SECOND
        assert set(found.trace.steps) == {"a", "onError"}
        assert found.trace.steps["onError"].total.attempts == 1
        alone = await trace_of(w, handling.session_id)
        assert alone.trace.root.parent_id == root.span_id
        assert alone.trace.path.total == 5 * SECOND


def found_failure(history: Any) -> int:
    (seq,) = [event.seq for event in history.items if event.type == "session.failed"]
    return seq


async def test_what_was_not_looked_at_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with whole() as w:
        await w.apply({"a": ONCE})
        worker = await w.worker()
        began = w.engine.store.now()
        for number in range(1, 4):
            await w.ops.start("t")
            w.clock.move(60)
            await worker.settle((await worker.got(number))[-1], usage=SMALL)
            await w.calm()
        debugging = w.engine.debugging
        assert not (await debugging.slowest(since=began)).truncated
        assert not (await debugging.usage("day", since=began)).truncated
        last = await w.engine.store.last_position()
        monkeypatch.setattr(traces_module, "EVENTS_READ", 6)
        monkeypatch.setattr(traces_module, "EVENTS_SEARCHED", 6)
        assert last > 12
        found = await debugging.usage("day", since=began)
        assert found.truncated
        (spent,) = found.groups.values()
        assert spent.total.attempts < 3
        assert (await debugging.slowest(since=began)).truncated
        recent = w.engine.store.now() - 30 * SECOND
        assert not (await debugging.usage("day", since=recent)).truncated
