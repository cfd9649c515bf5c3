"""The figures of what happened: one for each event, with the times of the engine's clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from opscore.core.errors import Unavailable
from opscore.core.retry import AGENT_LOST
from opscore.core.state import ErrorInfo
from opscore.telemetry import measures as m
from tests.engine.whole import Whole, until, whole
from tests.stores import allow, refuse

WORK = ("default", "work")


def seconds(w: Whole, metric: m.Metric, *labels: str) -> tuple[int, float]:
    """How many observations, and their sum."""
    found = w.engine.measures.distributions(metric).get((*WORK, *labels))
    return (0, 0.0) if found is None else (sum(found.counts), found.total)


async def test_waiting_and_working_are_timed_apart() -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work"}})
        session_id = await w.ops.start("t")
        w.clock.move(3)
        worker = await w.worker()
        (attempt,) = await worker.got(1)
        w.clock.move(5)
        await worker.settle(attempt)
        record = await w.ended(session_id)
        assert seconds(w, m.QUEUE_WAIT) == (1, 3.0)
        assert seconds(w, m.ATTEMPTS, "completed") == (1, 5.0)
        waits = w.engine.measures.distributions(m.QUEUE_WAIT)[WORK]
        (example,) = waits.exemplars.values()
        assert (example.trace_id, example.value) == (record.trace_id, 3.0)
        assert w.engine.measures.counted(m.SESSIONS_STARTED) == {("default", "t"): 1}
        assert w.engine.measures.counted(m.SESSIONS_ENDED) == {("default", "t", "completed"): 1}


async def test_failures_retries_and_fallbacks_are_counted() -> None:
    async with whole() as w:
        step = {"capability": "work", "retry": {"maxAttempts": 2, "initialDelay": "1s"}}
        await w.apply({"a": {**step, "fallback": [{"capability": "rescue"}]}})
        session_id = await w.ops.start("t")
        worker = await w.worker(("work", "rescue"))
        for number in (1, 2):
            await w.pass_by(3)
            attempts = await worker.got(number)
            error = ErrorInfo("broken", "no")
            await worker.settle(attempts[-1], outcome="failed", error=error)
        attempts = await worker.got(3)
        await worker.settle(attempts[-1])
        await w.ended(session_id)
        counted = w.engine.measures.counted
        assert counted(m.FAILURES) == {(*WORK, "broken"): 2}
        assert counted(m.RETRIES) == {WORK: 1}
        assert counted(m.FALLBACKS) == {("default", "rescue"): 1}
        assert seconds(w, m.ATTEMPTS, "failed")[0] == 2


async def test_a_value_that_stands_in_is_a_fallback() -> None:
    async with whole() as w:
        step = {"capability": "work", "timeout": {"queue": "2s"}, "fallback": [{"value": 9}]}
        await w.apply({"a": step})
        session_id = await w.ops.start("t")
        await w.pass_by(4)
        await w.ended(session_id)
        assert w.engine.measures.counted(m.FALLBACKS) == {WORK: 1}


async def test_a_lost_agent_is_an_expired_lease() -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work", "retry": 2}})
        await w.ops.start("t")
        worker = await w.worker()
        await worker.got(1)
        await w.pass_by(20)
        assert w.engine.measures.counted(m.LEASES_EXPIRED) == {WORK: 1}
        assert w.engine.measures.counted(m.FAILURES) == {(*WORK, AGENT_LOST): 1}


async def test_what_was_never_claimed_has_no_attempt() -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work"}})
        session_id = await w.ops.start("t")
        await w.ops.cancel(session_id, "not wanted")
        await w.ended(session_id)
        assert w.engine.measures.distributions(m.ATTEMPTS) == {}
        assert w.engine.measures.counted(m.SESSIONS_ENDED) == {("default", "t", "cancelled"): 1}


async def test_commits_are_counted_with_what_they_carry() -> None:
    async with whole() as w:
        await w.apply({"a": {"value": 1}})
        before = w.engine.measures.distribution(m.COMMIT_COMMANDS).total
        await w.ops.start("t")
        sizes = w.engine.measures.distribution(m.COMMIT_COMMANDS)
        assert sizes.total > before
        assert sum(sizes.counts) == sum(w.engine.measures.distribution(m.COMMIT_SECONDS).counts)


async def test_refused_commits_are_counted_and_measure_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with whole(f"sqlite:///{path}") as w:
        await w.apply({"a": {"value": 1}})
        refuse(path, "before insert on sessions")
        with pytest.raises(Unavailable):
            await w.ops.start("t")
        assert w.engine.commits_failed == 1
        assert w.engine.measures.counted(m.SESSIONS_STARTED) == {}
        allow(path)
        await w.ops.start("t")
        assert w.engine.measures.counted(m.SESSIONS_STARTED) == {("default", "t"): 1}


async def test_gauges_show_what_is_open() -> None:
    async with whole() as w:
        limited = {"key": "k", "limit": 1}
        await w.apply(
            {
                "a": {"capability": "work"},
                "b": {"capability": "slow", "concurrency": limited},
                "c": {"capability": "slow", "concurrency": limited},
                "d": {"agent": "worker"},
            }
        )
        await w.ops.start("t")
        w.clock.move(4)
        worker = await w.worker(("other",))
        await until(lambda: worker.given)
        reading = await w.engine.gauges("default")
        assert reading[m.TASKS] == {
            ("default", "work", "available"): 1,
            ("default", "slow", "blocked"): 2,
            ("default", "", "running"): 1,
        }
        assert reading[m.QUEUE_AGE]["default", "work"] == 4.0
        assert reading[m.SESSIONS] == {("default", "processing"): 1}
        assert sum(reading[m.AGENTS].values()) == 1
        assert await w.engine.gauges("another") == {
            m.AGENTS: {},
            m.TASKS: {},
            m.SESSIONS: {},
            m.QUEUE_AGE: {},
        }
