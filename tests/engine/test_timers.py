"""Timers over random crashes, pauses and failed commits: none is lost, doubled or early."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opscore.core.types import SECOND, Micros, SessionStatus
from opscore.engine.records import EventRecord
from tests.engine.whole import HandClock, Whole, whole
from tests.stores import allow, refuse

ASKED = 7
STEPS = {
    "a": {"wait": "${{ input.a }}"},
    "b": {"needs": "a", "wait": "${{ input.b }}"},
    "c": {"approval": {"title": "?", "timeout": f"{ASKED}s", "onTimeout": "approve"}},
}
seconds = st.integers(1, 9)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.tuples(seconds, seconds)),
        st.tuples(st.just("pass"), seconds),
        st.tuples(st.sampled_from(["pause", "resume"]), st.integers(0, 3)),
        st.tuples(st.just("crash"), st.integers(1, 20)),
        st.tuples(st.just("refuse"), st.integers(1, 5)),
    ),
    max_size=12,
)


class Play:
    """Sessions that wait, and an engine that dies now and then."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "ops.db"
        self.url = f"sqlite:///{self.path}"
        self.clock = HandClock()
        self.lengths: dict[str, tuple[int, int]] = {}

    async def lives(self, played: list[tuple[str, Any]]) -> None:
        """One life of the engine after the other, then one in which all is left in peace."""
        left = list(played)
        while left:
            async with whole(self.url, clock=self.clock) as w:
                await w.apply(STEPS)
                down = await self._live(w, left)
            self.clock.move(down)
        async with whole(self.url, clock=self.clock) as w:
            await self._calm(w)
            for session, lengths in self.lengths.items():
                check((await w.ops.history(session)).items, lengths)
            assert (await w.engine.store.counts())["timers"] == 0

    async def _live(self, w: Whole, left: list[tuple[str, Any]]) -> int:
        """Until a crash; for how long the engine is away then."""
        while left:
            word, value = left.pop(0)
            if word == "crash":
                return value
            await self._move(w, word, value)
        return 0

    async def _move(self, w: Whole, word: str, value: Any) -> None:
        sessions = list(self.lengths)
        if word == "start":
            given = b'{"a": "%ds", "b": "%ds"}' % value
            self.lengths[await w.ops.start("t", input=given)] = value
        elif word == "pass":
            await w.pass_by(value)
        elif word == "refuse":
            refuse(self.path, "before delete on timers")
            await w.pass_by(value)
            allow(self.path)
        elif self.lengths:
            await steer(w, word, sessions[int(value) % len(sessions)])

    async def _calm(self, w: Whole) -> None:
        for session in self.lengths:
            await steer(w, "resume", session)
        for session in self.lengths:
            while (await w.ops.get_session(session)).finished_at is None:
                await w.pass_by(1)
            assert (await w.ended(session)).status is SessionStatus.COMPLETED


async def steer(w: Whole, word: str, session: str) -> None:
    status = (await w.ops.get_session(session)).status
    if word == "resume" and status is SessionStatus.PAUSED:
        await w.ops.resume(session)
    elif word == "pause" and status is SessionStatus.PROCESSING:
        await w.ops.pause(session)


def check(events: Any, lengths: tuple[int, int]) -> None:
    """Each wait ended once, and not before it had waited its length outside of pauses."""
    wanted = {"a": lengths[0], "b": lengths[1], "c": ASKED}
    waited: Counter[str] = Counter()
    ended: list[str] = []
    running: dict[str, Micros] = {}
    for event in events:
        if event.type == "session.paused":
            waited.update({step: event.at - since for step, since in running.items()})
        elif event.type == "session.resumed":
            running.update((step, event.at) for step in list(running))
        elif event.type in ("step.waiting", "approval.requested"):
            running[step_of(event)] = event.at
        elif event.type == "step.completed":
            step = step_of(event)
            waited[step] += event.at - running.pop(step)
            ended.append(step)
    assert sorted(ended) == ["a", "b", "c"]
    assert all(waited[step] >= wanted[step] * SECOND for step in ended)


def step_of(event: EventRecord) -> str:
    return msgspec.json.decode(event.data)["step"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves)
def test_a_timer_fires_once_whatever_happens_to_the_engine(played: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(Play(folder).lives(played))
