"""A place in the journal holds over restarts, and nothing is told twice or left out."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from opscore.core.errors import Invalid
from opscore.engine import following
from opscore.engine.following import Wanted
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.records import EventRecord
from tests.engine.whole import HandClock, Whole, whole

STEPS = {f"s{number}": {"value": number} for number in range(5)}


async def told(w: Whole, after: int, last: str = "session.completed") -> list[EventRecord]:
    events: list[EventRecord] = []
    async with aclosing(w.engine.following.events(Wanted(), "default", after)) as following_:
        async for event in following_:
            events.append(event)
            if event.type == last:
                return events
    return events


async def test_a_place_holds_over_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    async with whole(url) as w:
        await w.apply(STEPS)
        await w.engine.lifecycle.register_agent(AgentDetails(agent_name="a", agent_id="a"))
        await w.ended(await w.ops.start("t"))
        first = await told(w, 0)
        end = w.engine.feed.position
    assert [event.position for event in first] == list(range(1, end + 1))
    assert {event.agent_id is None for event in first} == {True, False}
    later = HandClock()
    later.move(60)
    async with whole(url, clock=later) as w:
        assert w.engine.following.start(None) == end
        await w.engine.lifecycle.register_agent(AgentDetails(agent_name="b", agent_id="b"))
        await w.ended(await w.ops.start("t"))
        second = await told(w, end)
        assert [event.position for event in second] == list(
            range(end + 1, w.engine.feed.position + 1)
        )
        assert await told(w, first[3].position, "session.completed") == first[4:]


async def test_deleting_the_newest_session_gives_no_place_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    async with whole(url) as w:
        await w.apply(STEPS)
        session = await w.ops.start("t")
        await w.ended(session)
        await w.engine.lifecycle.register_agent(AgentDetails(agent_name="a", agent_id="a"))
        end = w.engine.feed.position
        await w.ops.delete_session(session)
    async with whole(url) as w:
        assert w.engine.feed.position >= end


async def test_many_windows_are_read_and_live_events_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "WINDOW", 2)
    async with whole() as w:
        await w.apply(STEPS)
        await w.ended(await w.ops.start("t"))
        events: list[EventRecord] = []
        stream = w.engine.following.events(Wanted(), "default", 0, limit=1)
        async with aclosing(stream):
            async for event in stream:
                events.append(event)
                if event.type == "session.started" and len(events) == 1:
                    # Far more than may wait, while the journal is still being read.
                    await w.ended(await w.ops.start("t"))
                if [each.type for each in events].count("session.completed") == 2:
                    break
        assert [event.position for event in events] == list(range(1, len(events) + 1))


async def test_a_place_that_is_not_reached_is_refused() -> None:
    async with whole() as w:
        with pytest.raises(Invalid, match="no event 7 yet"):
            w.engine.following.start(7)
