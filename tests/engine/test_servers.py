"""Several servers over one store: each knows what the others did, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opscore.core.errors import Conflict, NotFound
from opscore.core.types import SessionStatus
from opscore.engine.following import Wanted
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.repeats import CURRENT
from opscore.store.rows import OutboxRow
from tests.engine.whole import HandClock, Whole, Worker, until, whole
from tests.stores import pytest_generate_tests, store_kind

__all__ = ["pytest_generate_tests", "store_kind"]

pytestmark = pytest.mark.postgres

WORK = {"a": {"capability": "work", "retry": 1}}
TWO = {**WORK, "b": {"needs": "a", "capability": "more", "retry": 1}}


@asynccontextmanager
async def servers(path: Path, count: int = 2, **settings: Any) -> AsyncGenerator[list[Whole]]:
    """So many servers of one store, on one clock."""
    clock = HandClock()
    async with AsyncExitStack() as stack:
        url = f"sqlite:///{path / 'ops.db'}"
        yield [
            await stack.enter_async_context(whole(url, clock=clock, seed=seed, **settings))
            for seed in range(count)
        ]


def leader(all_of_them: list[Whole]) -> Whole:
    (one,) = [w for w in all_of_them if w.engine.leads]
    return one


async def pass_by(all_of_them: list[Whole], seconds: float) -> None:
    """Time passes for all of them: they have one clock."""
    for _ in range(int(seconds)):
        all_of_them[0].clock.move(1)
        for w in all_of_them:
            await w.calm()


async def caught_up(*all_of_them: Whole) -> None:
    for w in all_of_them:
        await w.engine.catch_up()


class NothingStays(OrderedDict[str, OutboxRow]):
    """Rows that a server wrote and never looks at."""

    def update(self, *_: Any, **__: Any) -> None:
        """Forget them."""


# -- what one knows, all know -------------------------------------------------------------------


async def test_work_accepted_on_one_server_wakes_an_agent_of_another(tmp_path: Path) -> None:
    async with servers(tmp_path) as (a, b):
        await a.apply(TWO)
        await caught_up(b)
        first, second = await b.worker(), await a.worker(["more"], name="second", instance="i2")
        session = await a.ops.start("t")
        (attempt,) = await first.got(1)
        assert attempt.session_id == session
        await first.settle(attempt)
        (after,) = await second.got(1)
        await second.settle(after)
        for w in (a, b):
            record = await w.ended(session)
            assert record.status is SessionStatus.COMPLETED
        history = await a.ops.history(session)
        assert [event.seq for event in history.items] == list(range(1, len(history.items) + 1))


async def test_an_attempt_may_be_settled_on_any_server(tmp_path: Path) -> None:
    async with servers(tmp_path) as (a, b):
        await a.apply(WORK)
        worker = await a.worker(slots=1)
        sessions = [await a.ops.start("t") for _ in range(3)]
        elsewhere = Worker(b, worker.agent_id, "i1")
        for number in range(3):
            (attempt,) = (await worker.got(number + 1))[number:]
            # The slot is free on the server where the instance sits, which hears of it.
            assert await elsewhere.settle(attempt) == "recorded"
            assert await worker.settle(attempt) == "recorded", "the same report again"
        for session in sessions:
            assert (await a.ended(session)).status is SessionStatus.COMPLETED


async def test_what_was_answered_by_one_is_known_to_the_other_at_once(tmp_path: Path) -> None:
    async with servers(tmp_path) as (a, b):
        for number in range(20):
            w, other = (a, b) if number % 2 else (b, a)
            await w.apply(WORK, name=f"t{number}")
            agent = await w.engine.lifecycle.register_agent(
                AgentDetails(agent_name=f"agent{number}", capabilities=("work",))
            )
            await caught_up(other)
            await other.ops.start(f"t{number}", agent_id=agent.agent_id)


async def test_a_key_that_one_server_revoked_lets_in_nowhere(tmp_path: Path) -> None:
    async with servers(tmp_path) as (a, b):
        made = await a.engine.keys.create("k", ["session:read"])
        assert made.token is not None
        await caught_up(b)
        assert b.engine.keys.verify(made.token.encode()) is not None
        await a.engine.keys.revoke(made.key.key_id)
        await until(lambda: b.engine.keys.verify(str(made.token).encode()) is None)


async def test_an_agent_is_online_for_all_and_gone_for_all(tmp_path: Path) -> None:
    async with servers(tmp_path) as (a, b):
        worker = await a.worker()
        await caught_up(b)
        assert (await b.engine.lifecycle.get_agent(worker.agent_id)).online
        assert worker.connection is not None
        await worker.connection.disconnect()
        await pass_by([a, b], 60)
        assert not (await b.engine.lifecycle.get_agent(worker.agent_id)).online
        await b.engine.lifecycle.deregister(worker.agent_id)
        await caught_up(a)
        with pytest.raises(NotFound):
            await a.engine.lifecycle.get_agent(worker.agent_id)


async def test_who_is_connected_elsewhere_is_not_written_down_as_gone(tmp_path: Path) -> None:
    async with servers(tmp_path) as all_of_them:
        leads = leader(all_of_them)
        (other,) = [w for w in all_of_them if w is not leads]
        worker = await other.worker()
        assert worker.connection is not None
        for _ in range(60):
            await pass_by(all_of_them, 2)
            await worker.connection.heartbeat([])
        assert (await leads.engine.lifecycle.get_agent(worker.agent_id)).online
        said = [
            s.state for s in (await other.engine.lifecycle.state_history(worker.agent_id)).items
        ]
        assert "offline" not in said


# -- orders cross servers -----------------------------------------------------------------------


async def test_cancel_drain_and_signal_cross_servers(tmp_path: Path) -> None:
    async with servers(tmp_path) as (a, b):
        await a.apply({**WORK, "w": {"signal": {"name": "go"}}})
        worker = await b.worker(slots=5)
        session = await a.ops.start("t")
        (attempt,) = await worker.got(1)
        await a.ops.cancel(session)
        await until(lambda: worker.cancelled)
        assert worker.cancelled[0][:2] == (attempt.task_id, attempt.attempt)
        signalled = await a.ops.start("t")
        await worker.settle((await worker.got(2))[1])
        await a.ops.signal(signalled, "go", b"1")
        assert (await b.ended(signalled)).status is SessionStatus.COMPLETED
        await a.engine.lifecycle.drain(worker.agent_id, reason="moving")
        await until(lambda: worker.drained)


async def test_an_instance_that_connects_elsewhere_leaves_its_seat(tmp_path: Path) -> None:
    async with servers(tmp_path) as (a, b):
        await a.apply(WORK)
        here = await a.worker(slots=2)
        await caught_up(b)
        there = await b.worker(slots=2)
        await until(lambda: here.closed)
        for _ in range(5):
            await a.ops.start("t")
        await there.got(2)
        await asyncio.gather(a.calm(), b.calm())
        assert (len(here.given), len(there.given)) == (0, 2)


# -- limits hold over all of them -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["step", "template"])
async def test_a_limit_counts_the_attempts_of_all_servers(tmp_path: Path, kind: str) -> None:
    bound = {"concurrency": {"key": "k", "limit": 3}}
    async with servers(tmp_path, 3) as all_of_them:
        if kind == "step":
            await all_of_them[0].apply({"a": {**WORK["a"], **bound}})
        else:
            await all_of_them[0].apply(WORK, concurrency=bound["concurrency"])
        await caught_up(*all_of_them)
        workers = [
            await w.worker(name=f"w{i}", instance=f"i{i}", slots=4)
            for i, w in enumerate(all_of_them)
        ]
        sessions = [await all_of_them[i % 3].ops.start("t") for i in range(12)]
        over: set[str] = set()
        while len(over) < len(sessions):
            await until(lambda: any(x.task_id not in over for w in workers for x in w.given))
            running = [(w, x) for w in workers for x in w.given if x.task_id not in over]
            assert len(running) <= 3, "more than three at once"
            worker, attempt = running[0]
            over.add(attempt.task_id)
            await worker.settle(attempt)
        for session in sessions:
            assert (await all_of_them[0].ended(session)).status is SessionStatus.COMPLETED
        for w in all_of_them:
            await caught_up(w)
            assert await w.engine.debugging.limits() == []


# -- nothing is done twice --------------------------------------------------------------------------


async def test_one_version_of_a_template_has_one_content(tmp_path: Path) -> None:
    async with servers(tmp_path) as (a, b):
        done = await asyncio.gather(
            a.apply(WORK),
            b.apply(TWO),
            a.apply(WORK, name="same"),
            b.apply(WORK, name="same"),
            return_exceptions=True,
        )
        refused = [each for each in done[:2] if each is not None]
        assert [type(each) for each in refused] == [Conflict]
        assert list(done[2:]) == [None, None]


async def test_a_request_with_one_key_is_carried_out_once(tmp_path: Path) -> None:
    async with servers(tmp_path) as (a, b):
        await a.apply(WORK)
        await caught_up(b)

        async def once(w: Whole, key: str) -> str | None:
            name = ("default", "me", "POST /session", key)
            try:
                request = await w.engine.repeats.begin(*name, digest=b"same")
            except Conflict:
                return None
            token = CURRENT.set(request)
            try:
                return await w.ops.start("t")
            except Conflict:
                return None
            finally:
                CURRENT.reset(token)
                w.engine.repeats.end(request)

        for number in range(10):
            await asyncio.gather(*(once(w, str(number)) for w in (a, b, a, b)))
        found = await a.ops.list_sessions(limit=50)
        assert len(found.items) == 10


async def test_a_schedule_fires_once(tmp_path: Path) -> None:
    async with servers(tmp_path, 3) as all_of_them:
        await all_of_them[0].apply({"v": {"value": 1}}, schedule={"every": "10s"})
        await pass_by(all_of_them, 35)
        found = await all_of_them[1].ops.list_sessions(limit=50)
        assert len(found.items) == 3


async def test_deadlines_are_kept_by_whoever_leads(tmp_path: Path) -> None:
    async with servers(tmp_path) as all_of_them:
        await all_of_them[0].apply(WORK, timeout={"total": "30s"})
        leads = leader(all_of_them)
        (other,) = [w for w in all_of_them if w is not leads]
        session = await leads.ops.start("t")
        await leads.engine.close(0)
        await until(lambda: other.engine.leads)
        await pass_by([other], 45)
        assert (await other.ended(session)).status is SessionStatus.ERROR


async def test_what_a_server_left_undone_is_done_by_another(tmp_path: Path) -> None:
    """A child session is asked for in one commit and begun in the next: in between, one dies."""
    async with servers(tmp_path) as (a, b):
        await a.apply({"p": {"value": 1}}, name="child")
        await a.apply({"c": {"workflow": "child"}}, name="parent")
        a.engine._relay._arrived.clear()  # pyright: ignore[reportPrivateUsage]
        a.engine._relay._rows = NothingStays()  # pyright: ignore[reportPrivateUsage]
        session = await a.ops.start("parent")
        await a.engine.close(0)
        await until(lambda: b.engine.leads)
        await pass_by([b], 5)
        assert (await b.ended(session)).status is SessionStatus.COMPLETED


# -- feeds -----------------------------------------------------------------------------------------


async def test_a_feed_tells_of_all_servers_in_order_and_of_each_event_once(tmp_path: Path) -> None:
    async with servers(tmp_path, 3) as all_of_them:
        await all_of_them[0].apply({"v": {"value": 1}})
        await caught_up(*all_of_them)
        follower = all_of_them[2].engine.following
        heard: list[int] = []
        after = follower.start(None)
        total = 30

        async def listen() -> None:
            ended = 0
            async for event in follower.events(Wanted(), "default", after):
                assert event.position is not None
                heard.append(event.position)
                ended += event.type == "session.completed"
                if ended == total:
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(listen())
            for number in range(total):
                group.create_task(all_of_them[number % 3].ops.start("t"))
        assert heard == list(range(after + 1, after + 1 + len(heard)))
