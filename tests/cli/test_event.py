"""The feed from the command line."""

from __future__ import annotations

import msgspec
import pytest

from opscore.cli import exits
from opscore.wire.agent import AgentPage
from opscore.wire.event import FeedEnded
from opscore.wire.session import EventView
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer
from tests.cli.samples import AT, agent

DATA = b'{"taskId":"tsk_1","step":"scan","error":null,"text":"\\u001b[2J"}'


def happened(position: int, kind: str, data: bytes = DATA) -> bytes:
    view = EventView(
        event_id=f"evt_{position}",
        position=position,
        session_id="ses_1",
        agent_id=None,
        seq=position,
        at=AT,
        type=kind,
        version=1,
        data=msgspec.Raw(data),
    )
    told = (position, kind.encode(), msgspec.json.encode(view))
    return b"id: %d\nevent: %b\ndata: %b\n\n" % told


STREAM = b"".join(
    [
        b"id: 0\n\n",
        happened(1, "task.created"),
        b":\n\n",
        happened(2, "task.failed"),
        b"event: ended\ndata: %b\n\n" % msgspec.json.encode(FeedEnded(position=2)),
    ]
)


@pytest.fixture
def feed(server: FakeServer) -> FakeServer:
    server.on("GET /event", STREAM, content_type="text/event-stream")
    return server


def test_events_are_shown_one_a_line(feed: FakeServer, opscore: Command) -> None:
    ran = opscore("event")
    assert ran.lines[0].split() == [
        AT,
        "task.created",
        "ses_1",
        '{"taskId":"tsk_1","step":"scan","text":"\\u001b[2J"}',
    ]
    assert "\x1b" not in ran.out
    assert feed.last.query == {"after": "0", "follow": "false"}
    assert [one["type"] for one in opscore("event", "-o", "json").json] == [
        "task.created",
        "task.failed",
    ]
    lines = opscore("event", "-o", "jsonl").lines
    assert [msgspec.json.decode(line)["position"] for line in lines] == [1, 2]


def test_filters_are_passed_on(feed: FakeServer, opscore: Command) -> None:
    feed.refuse("GET /agent/summarizer", 404, "there is no agent summarizer")
    feed.on("GET /agent", AgentPage(agents=[agent()]))
    words = ["--session", "ses_1", "--agent", "summarizer", "--workflow", "w"]
    words += ["--capability", "c", "--kind", "task.failed", "--kind", "agent", "--after", "7"]
    assert opscore("event", "-f", *words).code == exits.OK
    assert feed.last.query == {
        "session": "ses_1",
        "agent": "agt_1",
        "workflow": "w",
        "capability": "c",
        "type": "task.failed,agent",
        "after": "7",
    }
    assert opscore("event", "-f").code == exits.OK
    assert feed.last.query == {}


def test_following_is_no_one_document(feed: FakeServer, opscore: Command) -> None:
    ran = opscore("event", "-f", "-o", "json")
    assert (ran.code, "-o jsonl" in ran.err) == (exits.USAGE, True)
    assert not feed.seen


def test_a_refusal_is_told(server: FakeServer, opscore: Command) -> None:
    server.refuse("GET /event", 400, "there is no event 99 yet")
    ran = opscore("event", "--after", "99")
    assert (ran.code, ran.err) == (exits.ERROR, "error: there is no event 99 yet\n")
