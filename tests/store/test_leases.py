"""Leases: heartbeats, expiry and hello meet in one batch or in neighbouring ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from opscore.core import commands as cmd
from opscore.core.types import SECOND, TaskStatus
from opscore.engine.requests import Beat, Expire, OnSession, Reclaim
from opscore.store.rows import LeaseRow
from tests.core.scene import completed
from tests.store.house import House, check, open_house

ONE = {"name": "one", "version": "1", "steps": {"a": {"capability": "work"}}}
TASK = "tsk_a-1"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House]:
    """A session whose only task runs, and whose lease has just run out."""
    async with open_house(tmp_path / "ops.db") as house:
        await house.start(house.template(ONE), "ses_a", {})
        await house.on("ses_a", cmd.Claim(TASK, "agt_1", "i1"))
        house.now += 16 * SECOND
        yield house


async def lease(house: House) -> LeaseRow:
    (row,) = (await house.store.due(house.now, 10)).leases
    return row


async def test_a_lease_that_ran_out_ends_its_attempt(house: House) -> None:
    assert await house.all(Expire(await lease(house), 0.5)) == [True]
    task = check(house)["ses_a"].tasks[TASK]
    assert task.error is not None
    assert (task.status, task.error.error_class) == (TaskStatus.SCHEDULED, "agent_lost")


async def test_a_heartbeat_in_the_same_batch_comes_first(house: House) -> None:
    answers = await house.all(Beat([(TASK, 1)]), Expire(await lease(house), 0.5))
    assert answers == [[], False]
    assert check(house)["ses_a"].running == 1


async def test_a_heartbeat_in_the_commit_before_counts(house: House) -> None:
    row = await lease(house)
    with house.held_back():
        beat = house.writer.submit(Beat([(TASK, 1)]))
        await house.decided()
        expire = house.writer.submit(Expire(row, 0.5))
        await house.decided()
        assert not expire.done()
    assert await asyncio.gather(beat, expire) == [[], False]
    assert check(house)["ses_a"].running == 1


async def test_a_heartbeat_after_the_expiry_is_told_that_it_is_too_late(house: House) -> None:
    answers = await house.all(Expire(await lease(house), 0.5), Beat([(TASK, 1)]))
    assert answers == [True, [(TASK, 1)]]


async def test_an_expiry_that_comes_twice_counts_once(house: House) -> None:
    row = await lease(house)
    assert await house.all(Expire(row, 0.5), Expire(row, 0.5)) == [True, False]
    assert await house.all(Expire(row, 0.5)) == [False]
    assert check(house)["ses_a"].tasks[TASK].failures == 1


async def test_a_completion_in_the_commit_before_wins_over_the_expiry(house: House) -> None:
    row = await lease(house)
    with house.held_back():
        done = house.on("ses_a", cmd.Settle(TASK, 1, completed(), 0.5))
        await house.decided()
        expire = house.writer.submit(Expire(row, 0.5))
        await house.decided()
    assert await asyncio.gather(done, expire) == [None, False]
    assert check(house)["ses_a"].tasks[TASK].status is TaskStatus.COMPLETED


@pytest.mark.parametrize("beat", [Beat([(TASK, 2)]), Beat([(TASK, 1)], "elsewhere")])
async def test_only_the_holder_extends_a_lease(house: House, beat: Beat) -> None:
    assert await house.all(beat) == [list(beat.attempts)]
    assert await house.all(Beat([(TASK, 1)], "default", "i2")) == [[(TASK, 1)]]
    assert await house.all(Beat([(TASK, 1)], "default", "i1")) == [[]]


async def test_hello_returns_what_is_not_listed_without_a_failure(house: House) -> None:
    assert await house.all(
        Reclaim("default", "agt_1", "i2", []),
        Reclaim("default", "agt_1", "i1", [(TASK, 1), ("tsk_b-1", 1)]),
    ) == [
        ([], []),
        ([(TASK, 1)], [("tsk_b-1", 1)]),
    ]
    assert await house.all(Reclaim("default", "agt_1", "i1", [(TASK, 2)])) == [([], [(TASK, 2)])]
    task = check(house)["ses_a"].tasks[TASK]
    assert (task.status, task.failures) == (TaskStatus.AVAILABLE, 0)


@pytest.mark.parametrize("who", [("elsewhere", "agt_1"), ("default", "agt_2")])
async def test_nobody_returns_what_another_agents_instance_holds(
    house: House, who: tuple[str, str]
) -> None:
    assert await house.all(Reclaim(*who, "i1", [])) == [([], [])]
    assert await house.all(Reclaim(*who, "i1", [(TASK, 1)])) == [([], [(TASK, 1)])]
    assert check(house)["ses_a"].tasks[TASK].status is TaskStatus.RUNNING


async def test_only_the_holding_agent_extends_a_lease(house: House) -> None:
    assert await house.all(Beat([(TASK, 1)], "default", "i1", agent_id="agt_2")) == [[(TASK, 1)]]
    assert await house.all(Beat([(TASK, 1)], "default", "i1", agent_id="agt_1")) == [[]]


async def test_hello_after_the_settlement_in_one_batch_returns_nothing(house: House) -> None:
    settle = OnSession("ses_a", cmd.Settle(TASK, 1, completed(), 0.5))
    assert await house.all(settle, Reclaim("default", "agt_1", "i1", [])) == [None, ([], [])]
    assert check(house)["ses_a"].tasks[TASK].status is TaskStatus.COMPLETED


# -- leases of a step's own length ----------------------------------------------------------

LONG = "tsk_b-1"


@pytest.fixture
async def own(tmp_path: Path) -> AsyncGenerator[House]:
    """A running task whose step asks for a sign of life every 2 s, and one that asks every 60 s."""
    async with open_house(tmp_path / "ops.db") as house:
        for name, length in (("a", "2s"), ("b", "60s")):
            step = {"capability": "work", "timeout": {"heartbeat": length}}
            template = {"name": name, "version": "1", "steps": {"a": step}}
            await house.start(house.template(template), f"ses_{name}", {})
            await house.on(f"ses_{name}", cmd.Claim(f"tsk_{name}-1", "agt_1", "i1"))
        yield house


async def overdue(house: House) -> list[str]:
    return sorted(row.task_id for row in (await house.store.due(house.now, 10)).leases)


async def test_a_step_sets_the_length_of_its_leases(own: House) -> None:
    own.now += 1 * SECOND
    assert await own.all(Beat([(TASK, 1)])) == [[]]
    own.now += int(1.9 * SECOND)
    assert await overdue(own) == [], "a heartbeat gives the whole of its own lease again"
    own.now += 1 * SECOND
    assert await overdue(own) == [TASK]
    own.now += 60 * SECOND
    assert await overdue(own) == [TASK, LONG]


async def test_opening_gives_every_attempt_at_least_the_usual_lease(own: House) -> None:
    await own.store.renew_leases(own.now, 15 * SECOND, 3600 * SECOND)
    for seconds, expected in ((14, []), (2, [TASK]), (43, [TASK]), (2, [TASK, LONG])):
        own.now += seconds * SECOND
        assert await overdue(own) == expected
