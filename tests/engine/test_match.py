"""Every batch ends with a match: what it makes available is claimed in its own commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opscore.core.errors import Unavailable
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.records import ClaimedAttempt, SettlementReport
from opscore.engine.requests import SettleAttempts
from opscore.store.rows import Changes
from tests.engine.house import Ears, House, opened
from tests.engine.whole import until

SUM = ("sum",)


@pytest.fixture
async def house() -> AsyncGenerator[House]:
    async with opened() as house:
        yield house


async def seated(house: House, slots: int, instance: str = "i1") -> Ears:
    details = AgentDetails("summer", capabilities=SUM, max_in_flight=slots)
    agent = await house.lifecycle.register_agent(details)
    ears = Ears()
    await house.lifecycle.connect(
        agent.agent_id, instance_id=instance, max_in_flight=slots, holding=[], receiver=ears
    )
    return ears


@contextmanager
def refused_commits(house: House) -> Generator[None]:
    """The database takes nothing inside."""
    commit = house.store._commit  # pyright: ignore[reportPrivateUsage]

    async def refuse(changes: Changes) -> None:
        raise Unavailable("the disk is full", retry_after=1)

    house.store._commit = refuse  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        house.store._commit = commit  # pyright: ignore[reportPrivateUsage]


def held(house: House, instance: str = "i1") -> int:
    seat = house.dispatcher.seat(instance)
    assert seat is not None
    return len(seat.holding)


async def test_a_task_is_claimed_in_the_commit_that_makes_it(house: House) -> None:
    ears = await seated(house, 1)
    before = len(house.commits)
    session = await house.start()
    attempt = await ears.given.get()
    assert attempt.session_id == session
    assert len(house.commits) == before + 1
    changes = house.commits[-1].changes
    assert [event.type for event in changes.events] == [
        "session.started",
        "task.created",
        "task.claimed",
    ]
    assert not changes.ready
    assert not changes.unready
    assert [*changes.leases] == [attempt.task_id]


async def test_nobody_hears_of_it_before_the_commit(house: House) -> None:
    ears = await seated(house, 1)
    async with asyncio.TaskGroup() as group, house.slow_commit():
        started = group.create_task(house.start())
        await house.decided()
        assert ears.given.empty()
    assert (await ears.given.get()).session_id == started.result()


async def test_an_end_and_the_next_claim_share_a_commit(house: House) -> None:
    ears = await seated(house, 1)
    first, second = await house.start(), await house.start()
    attempt = await ears.given.get()
    assert attempt.session_id == first
    before = len(house.commits)
    await house.settle(attempt)
    assert (await ears.given.get()).session_id == second
    assert len(house.commits) == before + 1


async def test_slots_taken_in_a_batch_are_not_given_by_the_next(house: House) -> None:
    ears = await seated(house, 2)
    async with asyncio.TaskGroup() as group, house.slow_commit():
        for _ in range(3):
            group.create_task(house.start())
        await house.decided()
        group.create_task(house.start())
        await house.decided()
        assert held(house) == 2
    await house.decided()
    assert ears.given.qsize() == 2


async def test_what_a_commit_under_way_leaves_goes_before_what_is_new(house: House) -> None:
    ears = await seated(house, 1)
    await house.start()
    running = await ears.given.get()
    async with asyncio.TaskGroup() as group, house.slow_commit():
        left = group.create_task(house.start())
        await house.decided()
        await house.clock.sleep(1)
        ended = group.create_task(house.settle(running))
        group.create_task(house.start())
        await house.decided()
    assert ended.result().verdict == "recorded"
    assert (await ears.given.get()).session_id == left.result()


async def test_a_failed_commit_gives_the_slots_back(house: House) -> None:
    ears = await seated(house, 1)
    with refused_commits(house), pytest.raises(Unavailable):
        await house.start()
    assert held(house) == 0
    session = await house.start()
    assert (await ears.given.get()).session_id == session


async def test_a_failed_commit_takes_back_what_it_freed_and_what_waits_is_not_forgotten(
    house: House,
) -> None:
    ears = await seated(house, 1)
    await house.start()
    attempt = await ears.given.get()
    second = await house.start()
    with refused_commits(house), pytest.raises(Unavailable):
        await house.settle(attempt)
    assert held(house) == 1
    assert ears.given.empty()
    assert (await house.settle(attempt)).verdict == "recorded"
    assert (await ears.given.get()).session_id == second


async def test_a_queue_that_a_failed_commit_emptied_is_looked_at_again(house: House) -> None:
    ears = await seated(house, 2)
    for _ in range(2):
        await house.start()
    attempts = [await ears.given.get() for _ in range(2)]
    third = await house.start()
    reports = [SettlementReport(a.task_id, a.attempt, "completed") for a in attempts]
    with refused_commits(house), pytest.raises(Unavailable):
        await house.writer.submit(SettleAttempts(reports, lambda: 0.5))
    await house.writer.submit(SettleAttempts(reports, lambda: 0.5))
    assert (await ears.given.get()).session_id == third


async def test_a_slot_freed_in_one_batch_is_not_lost_to_a_reconnection_in_the_batch_before(
    house: House,
) -> None:
    ears = await seated(house, 1)
    await house.start()
    attempt = await ears.given.get()
    again = Ears()
    async with asyncio.TaskGroup() as group, house.slow_commit():
        group.create_task(
            house.lifecycle.connect(
                agent_of(house),
                instance_id="i1",
                max_in_flight=1,
                holding=[(attempt.task_id, attempt.attempt)],
                receiver=again,
            )
        )
        await house.decided()
        group.create_task(house.settle(attempt))
        await house.decided()
    assert held(house) == 0
    await house.start()
    await again.given.get()


def attempt_agent(house: House) -> str:
    seat = house.dispatcher.seat("i1")
    assert seat is not None
    return seat.agent_id


def agent_of(house: House) -> str:
    seat = house.dispatcher.seat("i1")
    assert seat is not None
    return seat.agent_id


class Walk:
    """Random moves on a house; whoever is refused asks again."""

    def __init__(self, house: House, ears: Ears, group: asyncio.TaskGroup) -> None:
        self._house = house
        self._ears = ears
        self._group = group
        self._tasks: list[asyncio.Task[None]] = []
        self.started: list[str] = []
        self.settled: list[str] = []

    def start(self) -> None:
        self._tasks.append(self._group.create_task(self._start()))

    def settle(self) -> None:
        if not self._ears.given.empty():
            attempt = self._ears.given.get_nowait()
            self._tasks.append(self._group.create_task(self._settle(attempt)))

    async def make(self, move: str) -> None:
        match move:
            case "start":
                self.start()
            case "settle":
                self.settle()
            case _:
                await self.all()

    async def all(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _start(self) -> None:
        try:
            self.started.append(await self._house.start())
        except Unavailable:
            await self._start()

    async def _settle(self, attempt: ClaimedAttempt) -> None:
        try:
            assert (await self._house.settle(attempt)).verdict == "recorded"
        except Unavailable:
            await self._settle(attempt)
        else:
            self.settled.append(attempt.session_id)


@given(st.lists(st.sampled_from(["start", "settle", "refuse", "all"]), max_size=30))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_slots_are_kept_and_everything_is_claimed_in_the_end(moves: list[str]) -> None:
    asyncio.run(_random_walk(moves))


async def _random_walk(moves: list[str]) -> None:
    async with opened() as house, asyncio.TaskGroup() as group:
        ears = await seated(house, 3)
        walk = Walk(house, ears, group)
        for move in moves:
            if move == "refuse":
                walk.start()
                with refused_commits(house):
                    walk.settle()
                    await house.decided()
            else:
                await walk.make(move)
            await house.decided()
            assert held(house) <= 3
        await walk.all()
        while len(walk.settled) < len(walk.started):
            await until(lambda: not ears.given.empty())
            walk.settle()
            await walk.all()
        assert sorted(walk.settled) == sorted(walk.started)
        assert held(house) == 0
        counts = await house.store.counts()
        assert (counts["leases"], counts["ready"]) == (0, 0)


async def test_a_new_seat_knows_what_was_claimed_on_the_old_one_meanwhile(house: House) -> None:
    ears = await seated(house, 1)
    await house.start()
    attempt = await ears.given.get()
    old, newer = house.dispatcher.seat("i1"), Ears()
    assert old is not None
    house.dispatcher.sit(replace(old, holding={}, receiver=newer))
    await house.start()
    assert held(house) == 1
    assert newer.given.empty()
    await house.settle(attempt)
    assert (await newer.given.get()).task_id != attempt.task_id


async def test_a_claim_that_failed_leaves_no_slot_of_a_newer_seat_taken(house: House) -> None:
    await seated(house, 1)
    old, newer = house.dispatcher.seat("i1"), Ears()
    assert old is not None
    with refused_commits(house):
        async with house.slow_commit():
            starting = asyncio.gather(house.start(), return_exceptions=True)
            await until(lambda: held(house) == 1)
            house.dispatcher.sit(replace(old, holding={}, receiver=newer))
            assert held(house) == 1
        await starting
    assert held(house) == 0
    await house.start()
    await newer.given.get()
