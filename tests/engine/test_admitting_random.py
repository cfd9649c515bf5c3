"""Random starts, ends, cancels, retries and crashes: no limit of sessions is exceeded, and none leaks."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opscore.core.errors import Refusal
from opscore.core.types import SESSION_ENDED, SessionStatus
from tests.engine.whole import HandClock, Whole, Worker, whole
from tests.stores import allow, refuse

LIMITS = {"a": 1, "b": 2}
WORDS = ("queue", "reject", "cancelOldest")
moves = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.tuples(st.sampled_from(WORDS), st.sampled_from("ab"))),
        st.tuples(st.sampled_from(["complete", "fail", "cancel", "retry"]), st.integers(0, 9)),
        st.tuples(st.sampled_from(["pause", "resume", "urgent"]), st.integers(0, 9)),
        st.tuples(st.just("pass"), st.integers(1, 12)),
        st.tuples(st.just("crash"), st.integers(1, 20)),
        st.tuples(st.sampled_from(["refuse gated", "refuse admitted"]), st.integers(1, 5)),
    ),
    max_size=14,
)


class Play:
    """Templates of each word and key, and an engine that dies now and then."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "ops.db"
        self.clock = HandClock()
        self.keys: dict[str, str] = {}

    async def lives(self, played: list[tuple[str, Any]]) -> None:
        left = list(played)
        while left:
            async with whole(f"sqlite:///{self.path}", clock=self.clock) as w:
                worker = await self._set_up(w)
                down = await self._live(w, worker, left)
            self.clock.move(down)
        async with whole(f"sqlite:///{self.path}", clock=self.clock) as w:
            worker = await self._set_up(w)
            await self._to_the_end(w, worker)

    async def _set_up(self, w: Whole) -> Worker:
        for word in WORDS:
            for key, limit in LIMITS.items():
                bound = {"key": key, "limit": limit, "onFull": word}
                steps = {"a": {"capability": "work", "retry": 1}, "b": {"needs": "a", "value": 1}}
                await w.apply(steps, name=f"{word}-{key}", concurrency=bound)
        return await w.worker(slots=50)

    async def _live(self, w: Whole, worker: Worker, left: list[tuple[str, Any]]) -> int:
        while left:
            word, value = left.pop(0)
            if word == "crash":
                return int(value)
            try:
                await self._move(w, worker, word, value)
            except Refusal:
                await w.calm()
            await w.calm()
            await self._check(w)
        return 0

    async def _move(self, w: Whole, worker: Worker, word: str, value: Any) -> None:
        sessions: list[str] = list(self.keys)
        match word:
            case "start":
                session = await w.ops.start(f"{value[0]}-{value[1]}")
                self.keys[session] = value[1]
            case "pass":
                await w.pass_by(value)
            case "refuse gated" | "refuse admitted":
                refuse(self.path, f"before insert on {word.split()[1]}")
                try:
                    await w.pass_by(value)
                finally:
                    allow(self.path)
            case "complete" | "fail":
                for attempt in worker.given[value : value + 1]:
                    outcome = "completed" if word == "complete" else "failed"
                    await worker.settle(attempt, outcome=outcome)
            case _ if sessions:
                await self._steer(w, word, sessions[int(value) % len(sessions)])
            case _:
                pass

    async def _steer(self, w: Whole, word: str, session: str) -> None:
        match word:
            case "cancel":
                await w.ops.cancel(session)
            case "retry":
                await w.ops.retry(session)
            case "pause":
                await w.ops.pause(session)
            case "resume":
                await w.ops.resume(session)
            case _:
                await w.ops.patch_session(session, priority=90)

    async def _check(self, w: Whole) -> None:
        """Of each key, no more sessions are let in and not ended than may.

        Memory knows of a commit before it is done: what it tells is so in the end.
        """
        told: dict[str, int] = {}
        under_way = Counter[str]()
        for _ in range(200):
            under_way = Counter[str]()
            for session, key in self.keys.items():
                under_way[key] += await is_in(w, session)
            assert all(under_way[key] <= limit for key, limit in LIMITS.items()), under_way
            told = {each.key: each.in_use for each in await w.engine.debugging.limits()}
            if all(told.get(key, 0) == under_way[key] for key in LIMITS):
                return
            await w.calm()
        raise AssertionError(f"memory has {told}, the journals {under_way}")

    async def _to_the_end(self, w: Whole, worker: Worker) -> None:
        statuses: list[SessionStatus] = []
        for _ in range(100):
            for attempt in list(worker.given):
                await worker.settle(attempt)
            for session in self.keys:
                if (await w.ops.get_session(session)).status is SessionStatus.PAUSED:
                    await w.ops.resume(session)
            await w.pass_by(2)
            await self._check(w)
            statuses = [(await w.ops.get_session(each)).status for each in self.keys]
            if all(status in SESSION_ENDED for status in statuses):
                assert await w.engine.debugging.limits() == []
                assert await rows(w) == 0
                return
        raise AssertionError(f"some never ended: {statuses}")


async def is_in(w: Whole, session: str) -> bool:
    """Whether it was let in, and neither ended nor was held again since."""
    inside = False
    for event in (await w.ops.history(session, limit=500)).items:
        if event.type == "session.admitted":
            inside = True
        elif event.type in (
            *("session.held", "session.completed", "session.failed", "session.cancelled"),
        ):
            inside = False
    return inside


async def rows(w: Whole) -> int:
    found = await w.engine.store.gates()
    return len(found.admitted) + len(found.waiting)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves)
def test_no_limit_of_sessions_is_exceeded_and_none_leaks(played: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(Play(folder).lives(played))
