"""Requests that are carried out once: over crashes, refused commits, and a day."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from opscore.core.errors import Conflict, Impossible, Unavailable
from opscore.core.types import SessionStatus
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.repeats import CURRENT, FORGET_SECONDS, Once
from opscore.engine.tools import StartRequest, TaskRequest
from tests.engine.whole import HandClock, Whole, whole
from tests.stores import allow, refuse

T = TypeVar("T")
WORK = {"a": {"capability": "work"}}


@asynccontextmanager
async def request(w: Whole, key: str = "k", digest: bytes = b"d") -> AsyncGenerator[Once, None]:
    """What the API does around a request that carries a key."""
    once = await w.engine.repeats.begin("default", "operator:me", "POST /x", key, digest=digest)
    token = CURRENT.set(once)
    try:
        yield once
    finally:
        CURRENT.reset(token)
        w.engine.repeats.end(once)


async def carried_out(w: Whole, do: Callable[[], Awaitable[T]]) -> T:
    """A request whose answer is lost: the process dies before it is kept."""
    async with request(w):
        return await do()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ops.db"


async def test_a_start_whose_answer_was_lost_gives_the_same_session_after_a_restart(
    url: str,
) -> None:
    async with whole(url) as w:
        await w.apply(WORK)
        first = await carried_out(w, lambda: w.ops.start("t"))
    async with whole(url) as w:
        assert await carried_out(w, lambda: w.ops.start("t")) == first
        assert len((await w.ops.list_sessions()).items) == 1
        async with request(w, "another"):
            assert await w.ops.start("t") != first


async def test_many_starts_and_a_task_with_its_template_are_repeated_whole(url: str) -> None:
    async def work(w: Whole) -> Any:
        starts = await w.ops.start_many([StartRequest("t"), StartRequest("t")])
        return starts, await w.ops.enqueue_task(TaskRequest(capability="work"))

    async with whole(url) as w:
        await w.apply(WORK)
        first = await carried_out(w, lambda: work(w))
    async with whole(url) as w:
        assert await carried_out(w, lambda: work(w)) == first
        assert len((await w.ops.list_sessions()).items) == 3


async def test_what_would_be_refused_a_second_time_is_accepted_again(url: str) -> None:
    async def work(w: Whole) -> Any:
        created = await w.ops.create_workflow({"name": "u", "version": "1", "steps": WORK})
        agent = await w.engine.lifecycle.register_agent(AgentDetails(agent_name="a", agent_id="a"))
        drained = await w.engine.lifecycle.drain("a")
        activated = await w.engine.lifecycle.activate("a")
        await w.ops.cancel(session)
        return created.created, agent.created, drained.state, activated.state

    async with whole(url) as w:
        await w.apply(WORK)
        session = await w.ops.start("t")
        first = await carried_out(w, lambda: work(w))
        assert first[:2] == (True, True)
    async with whole(url) as w:
        assert await carried_out(w, lambda: work(w)) == first
        assert (await w.ended(session)).status is SessionStatus.CANCELLED
        with pytest.raises(Conflict):
            await w.ops.cancel(session)


async def test_a_commit_that_failed_left_nothing_of_the_request(tmp_path: Path, url: str) -> None:
    async with whole(url) as w:
        await w.apply(WORK)
        refuse(tmp_path / "ops.db", "before insert on events")
        with pytest.raises(Unavailable):
            await carried_out(w, lambda: w.ops.start("t"))
        allow(tmp_path / "ops.db")
        await carried_out(w, lambda: w.ops.start("t"))
        assert len((await w.ops.list_sessions()).items) == 1


async def test_change_and_request_are_one_commit(tmp_path: Path, url: str) -> None:
    async with whole(url) as w:
        await w.apply(WORK)
        refuse(tmp_path / "ops.db", "before insert on idempotency")
        with pytest.raises(Unavailable):
            await carried_out(w, lambda: w.ops.start("t"))
        assert not (await w.ops.list_sessions()).items


async def test_an_answer_is_kept_for_a_day_and_then_forgotten() -> None:
    async with whole() as w:
        async with request(w) as once:
            await w.engine.repeats.keep(once, b"the answer")
        await w.pass_by(24 * 3600 - 60, FORGET_SECONDS)
        async with request(w) as once:
            assert once.answer == b"the answer"
        w.clock.move(120)
        async with request(w) as once:
            assert once.answer is None
        await w.pass_by(FORGET_SECONDS, FORGET_SECONDS)
        assert await w.engine.store.request(once.name) is None


async def test_other_content_is_refused_and_so_is_a_request_under_way() -> None:
    async with whole() as w:
        async with request(w) as once:
            with pytest.raises(Conflict, match="being carried out"):
                await w.engine.repeats.begin(*once.name, digest=b"d")
            with pytest.raises(Impossible):
                await w.engine.repeats.begin(*once.name, digest=b"other")
            await w.engine.repeats.keep(once, b"the answer")
        with pytest.raises(Impossible):
            await w.engine.repeats.begin(*once.name, digest=b"other")
        async with request(w) as again:
            assert again.answer == b"the answer"


async def test_what_a_request_set_going_is_not_part_of_it() -> None:
    async with whole(clock=HandClock()) as w:
        await w.apply(WORK)
        async with request(w) as once:
            pass
        token = CURRENT.set(once)
        assert await w.ops.start("t") != await w.ops.start("t")
        CURRENT.reset(token)
        assert await w.engine.store.request(once.name) is None
