"""The write path when things go wrong: refused commits, bugs, forgetting, two commits in a row."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from opscore.core import commands as cmd
from opscore.core.errors import Conflict, NotFound, Unavailable
from opscore.core.types import SESSION_ENDED, SessionStatus
from opscore.engine.requests import AddTemplate, DeleteSession, OnSession
from opscore.engine.unit import Means, Unit
from opscore.store.rows import TemplateRow, Wants
from opscore.store.sqlite import SqliteStore
from tests.core.scene import completed
from tests.store.house import check, open_house, states

ONE = {"name": "one", "version": "1", "steps": {"a": {"capability": "work"}}}
CLAIM = cmd.Claim("tsk_a-1", "agt_1", "i1")
DONE = cmd.Settle("tsk_a-1", 1, completed(), 0.5)


def labelled(word: str) -> cmd.UpdateSession:
    return cmd.UpdateSession(None, {"word": word}, None, "operator:o")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ops.db"


@dataclass
class Bug:
    """A command with a mistake in it: it changes a session and then breaks."""

    session_id: str
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        if not means.sessions.has(self.session_id):
            wants.sessions.add(self.session_id)

    def apply(self, unit: Unit) -> None:
        state = unit.session(self.session_id)
        assert state is not None
        unit.decide(state, labelled("never"))
        raise ZeroDivisionError


async def test_nothing_is_answered_before_it_is_durable(path: Path) -> None:
    async with open_house(path) as house:
        answer = house.start(house.template(ONE), "ses_a", {})
        seen = 0
        while not answer.done():
            seen = len(house.look("select 1 from events"))
            await asyncio.sleep(0)
        assert house.look("select count(*) from events") == [(2,)]
        assert seen in {0, 2}


async def test_a_refused_commit_is_told_and_leaves_nothing(path: Path) -> None:
    async with open_house(path) as house:
        await house.start(house.template(ONE), "ses_a", {})
        house.refuse_commits()
        answers = await house.all(OnSession("ses_a", CLAIM), OnSession("ses_a", labelled("x")))
        assert all(isinstance(a, Unavailable) for a in answers)
        assert [len(u.changes.events) for u in house.published] == [2]
        house.allow_commits()
        await house.on("ses_a", CLAIM)
        assert check(house)["ses_a"].labels == {}


async def test_the_batch_decided_after_a_refused_commit_is_refused_too(path: Path) -> None:
    async with open_house(path) as house:
        await house.start(house.template(ONE), "ses_a", {})
        house.refuse_commits()
        with house.slow_disk():
            first = house.on("ses_a", CLAIM)
            await _turns(10)
            second = house.on("ses_a", DONE)
            await _turns(10)
        for answer in await asyncio.gather(first, second, return_exceptions=True):
            assert isinstance(answer, Unavailable)
        house.allow_commits()
        with pytest.raises(Conflict, match="attempt 1"):
            await house.on("ses_a", DONE)
        await house.on("ses_a", CLAIM)
        await house.on("ses_a", DONE)
        assert check(house)["ses_a"].status is SessionStatus.COMPLETED


@pytest.mark.parametrize("turns", range(12))
async def test_whenever_the_next_batch_comes_it_decides_on_the_truth(
    path: Path, turns: int
) -> None:
    async with open_house(path) as house:
        await house.start(house.template(ONE), "ses_a", {})
        house.refuse_commits()
        first = house.on("ses_a", CLAIM)
        await _turns(turns)
        house.allow_commits()
        second = house.on("ses_a", CLAIM)
        answers = await asyncio.gather(first, second, return_exceptions=True)
        claimed = sum(answer is None for answer in answers)
        assert check(house)["ses_a"].running == claimed
        assert all(isinstance(a, Unavailable | Conflict) for a in answers if a is not None)


async def test_a_value_that_the_database_cannot_hold_spoils_one_batch_only(path: Path) -> None:
    async with open_house(path) as house:
        await house.start(house.template(ONE), "ses_a", {})
        row = TemplateRow("default", "big", "1", "", "", b"", 2**63)

        @dataclass
        class TooBig:
            weight: int = 1

            def want(self, wants: Wants, means: Means) -> None: ...
            def apply(self, unit: Unit) -> None:
                unit.changes.templates.append(row)

        with pytest.raises(Unavailable):
            await house.writer.submit(TooBig())
        await house.on("ses_a", CLAIM)
        assert check(house)["ses_a"].running == 1


async def test_a_command_that_breaks_harms_no_other_of_its_batch(path: Path) -> None:
    async with open_house(path) as house:
        await house.start(house.template(ONE), "ses_a", {})
        answers = await asyncio.gather(
            house.on("ses_a", CLAIM),
            house.writer.submit(Bug("ses_a")),
            house.on("ses_a", DONE),
            return_exceptions=True,
        )
        assert [type(a) for a in answers] == [type(None), ZeroDivisionError, type(None)]
        state = check(house)["ses_a"]
        assert state.status is SessionStatus.COMPLETED and state.labels == {}


async def test_a_refusal_in_a_batch_is_its_own_only(path: Path) -> None:
    async with open_house(path) as house:
        await house.start(house.template(ONE), "ses_a", {})
        answers = await house.all(
            OnSession("ses_a", CLAIM), OnSession("ses_a", CLAIM), OnSession("ses_b", CLAIM)
        )
        assert [type(a) for a in answers] == [type(None), Conflict, NotFound]


async def test_commands_that_come_together_share_a_commit(path: Path) -> None:
    async with open_house(path) as house:
        template = house.template(ONE)
        await asyncio.gather(*[house.start(template, f"ses_{n}", {}) for n in range(40)])
        assert house.writer.commits == 1


async def test_a_session_that_ends_in_one_commit_and_changes_in_the_next_is_not_forgotten(
    path: Path,
) -> None:
    async with open_house(path) as house:
        await house.start(house.template(ONE), "ses_a", {})
        await house.on("ses_a", CLAIM)
        holding_back = ExitStack()
        with house.slow_disk():
            ended = house.on("ses_a", DONE)
            await house.decided()
            holding_back.enter_context(house.held_back())
            answers = [house.on("ses_a", labelled("after"))]
            await house.decided()
        await ended
        answers.append(house.on("ses_a", labelled("and after that")))
        await house.decided()
        holding_back.close()
        await asyncio.gather(*answers)
        assert check(house)["ses_a"].labels == {"word": "and after that"}


async def test_a_memory_for_one_session_is_enough_for_two_in_flight(path: Path) -> None:
    async with open_house(path, kept=1) as house:
        template = house.template(ONE)
        await asyncio.gather(*[house.start(template, name, {}) for name in ("ses_a", "ses_b")])
        with house.held_back():
            answers = [house.on(name, labelled("first")) for name in ("ses_a", "ses_b")]
            await house.decided()
            answers.append(house.on("ses_a", labelled("second")))
            await house.decided()
        await asyncio.gather(*answers)
        folded = check(house)
        assert [folded[s].labels["word"] for s in ("ses_a", "ses_b")] == ["second", "first"]


async def test_a_deleted_session_is_gone_for_whatever_comes_next(path: Path) -> None:
    async with open_house(path) as house:
        await house.start(house.template(ONE), "ses_a", {})
        await house.on("ses_a", CLAIM)
        assert await house.all(DeleteSession("ses_a", "default")) != [None]
        await house.on("ses_a", DONE)
        with house.slow_disk():
            gone = house.writer.submit(DeleteSession("ses_a", "default"))
            await _turns(10)
            late = house.on("ses_a", labelled("late"))
            await _turns(10)
        assert await gone is None
        with pytest.raises(NotFound):
            await late
        assert not states(house)
        for table in ("sessions", "tasks", "events", "ready", "leases"):
            assert house.look(f"select count(*) from {table}") == [(0,)]


async def test_a_refused_deletion_leaves_the_session(path: Path) -> None:
    async with open_house(path) as house:
        await house.start(house.template(ONE), "ses_a", {})
        await house.on("ses_a", CLAIM)
        await house.on("ses_a", DONE)
        house.refuse_commits("before delete on sessions")
        with pytest.raises(Unavailable):
            await house.writer.submit(DeleteSession("ses_a", "default"))
        house.allow_commits()
        await house.on("ses_a", labelled("still here"))
        assert check(house)["ses_a"].status in SESSION_ENDED


async def test_a_closed_writer_commits_what_it_has_and_takes_no_more(path: Path) -> None:
    async with open_house(path) as house:
        answer = house.start(house.template(ONE), "ses_a", {})
        house.writer.close()
        await answer
        with pytest.raises(Unavailable):
            await house.on("ses_a", CLAIM)


@pytest.mark.sqlite
async def test_who_leaves_does_not_free_the_connection(path: Path) -> None:
    async with open_house(path) as house:
        assert isinstance(house.store, SqliteStore)
        release = threading.Event()
        leaving = asyncio.get_running_loop().create_task(
            house.store._on_writer(release.wait)  # pyright: ignore[reportPrivateUsage]
        )
        try:
            await _turns(3)
            leaving.cancel()
            await _turns(3)
            leaving.cancel()
            started = house.start(house.template(ONE), "ses_a", {})
            await house.decided()
            begun = house.store._w.in_transaction  # pyright: ignore[reportPrivateUsage]
        finally:
            release.set()
        await started
        assert leaving.cancelled()
        assert not begun
        assert house.look("select count(*) from sessions") == [(1,)]


async def test_the_loop_goes_on_while_another_program_holds_the_file(path: Path) -> None:
    async with open_house(path) as house:
        with house.slow_disk():
            started = house.start(house.template(ONE), "ses_a", {})
            await house.decided()
            assert not started.done()
        await started
        assert house.look("select count(*) from sessions") == [(1,)]


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_template_that_is_being_committed_is_not_added_again(path: Path) -> None:
    async with open_house(path) as house:
        row = TemplateRow("default", "new", "1", "", "digest", b"{}", 1)
        with house.held_back():
            first = house.writer.submit(AddTemplate(row))
            await house.decided()
            second = house.writer.submit(AddTemplate(row))
            await house.decided()
        assert [created for _, created in await asyncio.gather(first, second)] == [True, False]
