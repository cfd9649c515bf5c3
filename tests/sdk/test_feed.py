"""The client on the fleet-wide feed: it goes on where it was, whatever breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

import msgspec
import pytest
from aiohttp import web

from opscore.sdk import Client, OpsCoreProblem, ServerUnreachable
from opscore.sdk import follow as follow_module
from opscore.wire.event import FeedDropped, FeedEnded
from opscore.wire.session import EventView
from tests.sdk.conftest import FakeServer, problem_answer
from tests.sdk.test_client import event

EVENTS = [event(number, "task.created") for number in range(1, 9)]
DROPPED = b"event: dropped\ndata: %b\n\n" % msgspec.json.encode(FeedDropped(reason="too slow"))
ENDED = b"event: ended\ndata: %b\n\n" % msgspec.json.encode(FeedEnded(position=8))


def told(events: Iterable[EventView]) -> bytes:
    return b"".join(
        b"id: %d\nevent: %b\ndata: %b\n\n"
        % (one.position, one.type.encode(), msgspec.json.encode(one))
        for one in events
    )


class Feed:
    """`GET /event`: each connection gets a part of the journal, then what is said in the end."""

    def __init__(self, server: FakeServer, *parts: tuple[int, bytes]) -> None:
        self.parts = list(parts)
        self.asked: list[str | None] = []
        self.queries: list[str] = []
        self.newest = 2
        server.answer("GET", "/event", self.stream)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        last = request.headers.get("Last-Event-ID")
        self.asked.append(last)
        self.queries.append(request.query_string)
        after = int(last or request.query.get("after") or self.newest)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"id: %d\n\n" % after)
        count, last_word = self.parts.pop(0) if self.parts else (0, ENDED)
        await response.write(told(EVENTS[after : after + count]) + last_word)
        return response


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[Client]:
    async with Client(server.url, patience=0.0) as client:
        yield client


async def positions(client: Client, **wanted: object) -> list[int]:
    events = client.events(**wanted)  # type: ignore[arg-type]
    async with aclosing(events):
        return [one.position async for one in events]


async def test_it_goes_on_over_broken_connections(server: FakeServer, client: Client) -> None:
    feed = Feed(server, (2, b""), (0, b""), (1, DROPPED), (3, b"event: task.created\nda"))
    assert await positions(client) == [3, 4, 5, 6, 7, 8]
    assert feed.asked == [None, "4", "4", "5", "8"]


async def test_what_it_was_not_told_yet_is_told_after_a_break(
    server: FakeServer, client: Client
) -> None:
    """The server's first word is a place, so that a break before the first event loses nothing."""
    feed = Feed(server, (0, b""), (6, ENDED))
    feed.newest = 2
    events = client.events()
    async with aclosing(events):
        first = await anext(events)
    assert first.position == 3
    assert feed.asked[:2] == [None, "2"]


async def test_filters_are_sent_and_nothing_else(server: FakeServer, client: Client) -> None:
    feed = Feed(server)
    wanted = {"session": "s", "agent": "a", "workflow": "w", "capability": "c", "after": 8}
    assert await positions(client, **wanted, types=["task.failed", "agent"], follow=False) == []
    assert sorted(feed.queries[0].split("&")) == [
        "after=8",
        "agent=a",
        "capability=c",
        "follow=false",
        "session=s",
        "type=task.failed,agent",
        "workflow=w",
    ]
    await positions(client)
    assert feed.queries[1] == ""


async def test_a_repeat_is_passed_over(server: FakeServer, client: Client) -> None:
    Feed(server, (2, told(EVENTS[2:4]) + told(EVENTS[4:5]) + ENDED))
    assert await positions(client) == [3, 4, 5]


async def test_refusals_are_raised(server: FakeServer, client: Client) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return problem_answer(400, "unknown_position", "there is no event 9 yet")

    server.answer("GET", "/event", refuse)
    with pytest.raises(OpsCoreProblem, match="no event 9") as caught:
        await positions(client, after=9)
    assert caught.value.code == "unknown_position"


async def test_patience_ends(server: FakeServer, client: Client) -> None:
    async def away(_: web.Request) -> web.StreamResponse:
        return problem_answer(503, "unavailable", "not now")

    server.answer("GET", "/event", away)
    with pytest.raises(OpsCoreProblem, match="not now"):
        await positions(client)
    async with Client("http://127.0.0.1:9", patience=0.0) as nowhere:
        with pytest.raises(ServerUnreachable):
            await positions(nowhere)


async def test_a_line_without_an_end_is_given_up(
    server: FakeServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "LINE_LIMIT", 100)
    Feed(server, (0, b"data: " + b"x" * 200))
    with pytest.raises(OpsCoreProblem, match="line without an end"):
        await positions(client)
