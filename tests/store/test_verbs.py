"""The store's reading verbs, and how changes of one row come together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opscore.core import commands as cmd
from opscore.core.task import Failed
from opscore.core.types import SECOND, ErrorInfo
from opscore.store.rows import Changes, DelayedRow, LeaseRow, ReadyRow
from tests.core.scene import completed
from tests.store.house import BEGIN, House, open_house

TWO = {
    "name": "two",
    "version": "1",
    "timeout": {"total": "60s"},
    "labels": {"team": "red"},
    "steps": {
        "a": {"capability": "work", "timeout": {"queue": "20s"}},
        "b": {"capability": "other", "needs": ["a"]},
    },
}


async def begun(house: House, *names: str) -> None:
    template = house.template(TWO)
    for name in names:
        await house.start(template, name, {})
        house.now += SECOND


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["ses_c", "ses_b", "ses_a"]),
        ({"status": "processing"}, ["ses_b"]),
        ({"workflow": "two", "namespace": "default"}, ["ses_c", "ses_b", "ses_a"]),
        ({"workflow": "three"}, []),
        ({"namespace": "elsewhere"}, []),
        ({"label": "team=red"}, ["ses_c", "ses_b", "ses_a"]),
        ({"label": "team=blue"}, []),
        ({"since": BEGIN + SECOND}, ["ses_c", "ses_b"]),
        ({"until": BEGIN + SECOND}, ["ses_a"]),
    ],
)
async def test_sessions_are_found_by_what_they_are(
    tmp_path: Path, filters: Any, found: list[str]
) -> None:
    async with open_house(tmp_path / "ops.db") as house:
        await begun(house, "ses_a", "ses_b", "ses_c")
        await house.on("ses_b", cmd.Claim("tsk_b-1", "agt_1", "i1"))
        rows = await house.store.sessions(filters, None, 10)
        assert [row.session_id for row in rows] == found


async def test_lists_go_on_after_their_cursor(tmp_path: Path) -> None:
    async with open_house(tmp_path / "ops.db") as house:
        await begun(house, "ses_a", "ses_b", "ses_c")
        first = await house.store.sessions({}, None, 2)
        rest = await house.store.sessions({}, first[-1].session_id, 2)
        assert [r.session_id for r in (*first, *rest)] == ["ses_c", "ses_b", "ses_a"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"status": "running"}, ["tsk_a-1"]),
        ({"status": "available"}, ["tsk_b-2"]),
        ({"status": "completed"}, ["tsk_b-1"]),
        ({"agent_id": "agt_1"}, ["tsk_b-1", "tsk_a-1"]),
        ({"capability": "other"}, ["tsk_b-2"]),
        ({"session_id": "ses_b"}, ["tsk_b-2", "tsk_b-1"]),
    ],
)
async def test_tasks_are_found_by_what_they_are(
    tmp_path: Path, filters: Any, found: list[str]
) -> None:
    async with open_house(tmp_path / "ops.db") as house:
        await begun(house, "ses_a", "ses_b")
        await house.on("ses_a", cmd.Claim("tsk_a-1", "agt_1", "i1"))
        await house.on("ses_b", cmd.Claim("tsk_b-1", "agt_1", "i1"))
        await house.on("ses_b", cmd.Settle("tsk_b-1", 1, completed(), 0.5))
        rows = await house.store.tasks(filters, None, 10)
        assert [row.task.task_id for row in rows] == found


async def test_a_task_s_events_are_those_that_name_it(tmp_path: Path) -> None:
    async with open_house(tmp_path / "ops.db") as house:
        await begun(house, "ses_a")
        await house.on("ses_a", cmd.Claim("tsk_a-1", "agt_1", "i1"))
        await house.on("ses_a", cmd.Settle("tsk_a-1", 1, completed(), 0.5))
        events = await house.store.task_events("ses_a", "tsk_a-1")
        assert [e.type for e in events] == ["task.created", "task.claimed", "task.completed"]
        picture = await house.store.task("tsk_a-1")
        assert picture is not None and picture.lease is None
        assert await house.store.task("tsk_a-7") is None


async def test_what_is_due_is_told_with_the_next_moment(tmp_path: Path) -> None:
    async with open_house(tmp_path / "ops.db") as house:
        await begun(house, "ses_a", "ses_b")
        await house.on("ses_b", cmd.Claim("tsk_b-1", "agt_1", "i1"))
        lost = Failed(ErrorInfo("rate_limited", "", 3 * SECOND))
        due = await house.store.due(house.now, 10)
        assert not (due.leases or due.delayed or due.expired or due.sessions)
        assert due.next_at == BEGIN + 17 * SECOND, "the lease of ses_b's task"
        due = await house.store.due(BEGIN + 90 * SECOND, 10)
        assert [x.task_id for x in due.leases] == ["tsk_b-1"]
        assert [x.task_id for x in due.expired] == ["tsk_a-1"]
        assert list(due.sessions) == ["ses_a", "ses_b"]
        await house.on("ses_b", cmd.Settle("tsk_b-1", 1, lost, 0.5))
        due = await house.store.due(house.now + 3 * SECOND, 10)
        assert list(due.delayed) == [("tsk_b-1", "ses_b")]


async def test_queues_are_counted(tmp_path: Path) -> None:
    async with open_house(tmp_path / "ops.db") as house:
        await begun(house, "ses_a", "ses_b")
        assert await house.store.queues() == {("default", "cap:work"): 2}
        counts = await house.store.counts()
        assert (counts["sessions"], counts["ready"], counts["completed"]) == (2, 2, 0)


# -- changes of one batch -------------------------------------------------------------------


def place(number: int) -> ReadyRow:
    return ReadyRow("default", "cap:x", number, "t", "s", None)


def test_a_task_that_moves_twice_leaves_the_place_that_the_store_knows() -> None:
    changes = Changes()
    changes.dequeue(place(1))
    changes.enqueue(place(2))
    changes.dequeue(place(2))
    changes.dequeue(place(3))
    assert changes.unready == {"t": place(1)} and not changes.ready
    changes.enqueue(place(4))
    assert changes.ready == {"t": place(4)}


def test_a_task_that_comes_and_goes_in_one_batch_leaves_no_trace() -> None:
    changes = Changes()
    changes.enqueue(place(1))
    changes.dequeue(place(1))
    changes.delay(DelayedRow(1, "t", "s"))
    changes.undelay(DelayedRow(1, "t", "s"))
    assert changes.empty()


def test_an_ended_lease_is_ended_whatever_it_was_before() -> None:
    changes = Changes()
    changes.leases["t"] = LeaseRow("t", 1, "s", "default", "a", "i", 9, None)
    changes.extended["t"] = 12
    changes.end_lease("t")
    assert not changes.leases and not changes.extended and changes.unleased == {"t"}
