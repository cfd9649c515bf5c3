"""The client: what it sends, what it makes of answers, how it follows a session."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from opscore.sdk import (
    Client,
    OpsCoreProblem,
    Run,
    ServerUnreachable,
    SessionCancelled,
    SessionFailed,
    SyncClient,
    SyncRun,
)
from opscore.sdk.approvals import Approvals
from opscore.sdk.follow import frames
from opscore.sdk.keys import Keys
from opscore.sdk.routes import Agents, Limits, Sessions, Workflows
from opscore.sdk.schedules import Schedules
from opscore.sdk.server import Backoff, Server
from opscore.sdk.sync import (
    SyncAgents,
    SyncApprovals,
    SyncKeys,
    SyncLimits,
    SyncSchedules,
    SyncSessions,
    SyncTasks,
    SyncWorkflows,
)
from opscore.sdk.task_routes import Tasks
from opscore.wire.approval import ApprovalPage
from opscore.wire.session import EventView, History, SessionView, StartSession
from opscore.wire.task import EnqueueTask, TaskError
from opscore.wire.trace import SlowestView, UsageReport
from opscore.wire.why import ReasonView, WhyView
from tests.cli import samples
from tests.sdk.conftest import FakeServer, json_answer, problem_answer


def session(status: Any, output: object = None, error: TaskError | None = None) -> SessionView:
    return SessionView(
        session_id="ses_1",
        workflow="report",
        version="1",
        status=status,
        waiting_for=None,
        cancelling=False,
        input=msgspec.Raw(b"{}"),
        context=msgspec.Raw(b"{}"),
        output=msgspec.Raw(msgspec.json.encode(output)),
        error=error,
        steps={},
        priority=50,
        labels={},
        agent_id=None,
        created_at="",
        updated_at="",
        finished_at=None,
        trace_id="",
    )


def event(seq: int, kind: str) -> EventView:
    return EventView(
        event_id=f"evt_{seq}",
        position=seq,
        session_id="ses_1",
        agent_id=None,
        seq=seq,
        at="",
        type=kind,
        version=1,
        data=msgspec.Raw(b"{}"),
    )


STORY = [event(1, "session.started"), event(2, "task.claimed"), event(3, "session.completed")]


class Journal:
    """A session's stream: `cuts` says after how many events each connection breaks."""

    def __init__(self, server: FakeServer, *cuts: int) -> None:
        self.cuts = list(cuts)
        self.asked: list[str | None] = []
        self.done = False
        server.answer("GET", "/session/ses_1/stream", self.stream)
        server.answer("GET", "/session/ses_1", self.view)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        last = request.headers.get("Last-Event-ID")
        self.asked.append(last)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": hello\n\n")
        left = STORY[int(last or 0) :]
        cut = self.cuts.pop(0) if self.cuts else len(left)
        for one in left[:cut]:
            data = msgspec.json.encode(one)
            await response.write(b"id: %d\nevent: journal\ndata: %s\n\n" % (one.seq, data))
        self.done = cut >= len(left)
        return response

    async def view(self, _: web.Request) -> web.StreamResponse:
        return json_answer(session("completed", {"n": 1}) if self.done else session("processing"))


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[Client]:
    async with Client(server.url, "secret", "team") as client:
        yield client


async def test_start_sends_what_is_given(server: FakeServer, client: Client) -> None:
    async def accept(_: web.Request) -> web.StreamResponse:
        return json_answer({"sessionId": "ses_1", "status": "waiting"}, 202)

    server.answer("POST", "/session", accept)
    run = await client.start("report", {"path": "."}, priority=80, labels={"a": "b"})
    assert run.id == "ses_1"
    ((_, _, body),) = server.requests
    sent = msgspec.json.decode(body, type=StartSession)
    assert (sent.workflow, bytes(sent.input), sent.priority) == ("report", b'{"path":"."}', 80)
    (headers,) = server.headers
    assert headers["Authorization"] == "Bearer secret"
    assert headers["X-OpsCore-Namespace"] == "team"


async def test_the_secret_of_a_callback_is_the_runs(server: FakeServer, client: Client) -> None:
    async def accept(_: web.Request) -> web.StreamResponse:
        return json_answer({"sessionId": "ses_1", "callbackSecret": "whsec_abc"}, 202)

    server.answer("POST", "/session", accept)
    run = await client.start("report", callback="https://a.example/done")
    sent = msgspec.json.decode(server.requests[-1][2], type=StartSession)
    assert sent.callback is not None and sent.callback.url == "https://a.example/done"
    assert (run.callback_secret, client.run("ses_1").callback_secret) == ("whsec_abc", None)
    assert "whsec" not in repr(run)


async def test_the_result_is_waited_for(server: FakeServer, client: Client) -> None:
    Journal(server)
    assert await client.run("ses_1").result() == {"n": 1}


async def test_events_over_broken_connections_come_once_and_in_order(
    server: FakeServer, client: Client
) -> None:
    journal = Journal(server, 1, 0, 1)
    seen = [one.seq async for one in client.run("ses_1").events()]
    assert seen == [1, 2, 3]
    assert journal.asked == [None, "1", "1", "2"]


async def test_a_stream_that_repeats_itself_is_no_matter(
    server: FakeServer, client: Client
) -> None:
    async def repeat(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for one in (STORY[0], STORY[0], STORY[1], STORY[0], STORY[2]):
            await response.write(b"data: %s\n\n" % msgspec.json.encode(one))
        return response

    server.answer("GET", "/session/ses_1/stream", repeat)
    assert [one.seq async for one in client.run("ses_1").events()] == [1, 2, 3]


async def test_without_a_stream_the_history_is_read(server: FakeServer, client: Client) -> None:
    pages = {
        None: History(events=STORY[:2], next_cursor="two"),
        "two": History(events=STORY[2:]),
    }

    async def history(request: web.Request) -> web.StreamResponse:
        return json_answer(pages[request.query.get("cursor")])

    server.answer("GET", "/session/ses_1/history", history)
    assert [one.seq async for one in client.run("ses_1").events()] == [1, 2, 3]


async def test_an_unknown_session_is_a_problem(client: Client) -> None:
    with pytest.raises(OpsCoreProblem) as caught:
        await anext(client.run("ses_9").events())
    assert (caught.value.status, caught.value.code) == (404, "not_found")


async def test_how_a_session_can_end(server: FakeServer, client: Client) -> None:
    view = session("error", error=TaskError(error_class="fatal", message="no"))

    async def show(_: web.Request) -> web.StreamResponse:
        return json_answer(view)

    server.answer("GET", "/session/ses_1", show)
    with pytest.raises(SessionFailed) as caught:
        await client.run("ses_1").result()
    assert (caught.value.error_class, caught.value.message) == ("fatal", "no")
    view = session("cancelled")
    with pytest.raises(SessionCancelled):
        await client.run("ses_1").result()


async def test_the_result_does_not_wait_for_ever(server: FakeServer, client: Client) -> None:
    left = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await left.wait()
        return response

    Journal(server)
    server.answer("GET", "/session/ses_1/stream", silent)
    with pytest.raises(TimeoutError):
        await client.run("ses_1").result(timeout=0.01)
    left.set()


async def test_a_problem_keeps_its_parts(server: FakeServer, client: Client) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        answer = problem_answer(400, "invalid", "no such step", "/steps/a")
        answer.headers["Retry-After"] = "7"
        return answer

    server.answer("POST", "/workflow", refuse)
    with pytest.raises(OpsCoreProblem) as caught:
        await client.workflows.apply("name: a\n")
    problem = caught.value
    assert (problem.status, problem.code, problem.retry_after) == (400, "invalid", 7)
    assert problem.detail == "no such step"
    assert problem.errors[0].pointer == "/steps/a"
    assert server.headers[0]["Content-Type"] == "application/yaml"


async def test_what_something_in_between_answers(server: FakeServer, client: Client) -> None:
    async def proxy(_: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text="<h1>Forbidden</h1>")

    server.answer("GET", "/agent/agt_1", proxy)
    with pytest.raises(OpsCoreProblem, match="Forbidden") as caught:
        await client.agents.get("agt_1")
    assert caught.value.code == "unexpected_answer"


async def test_an_answer_of_another_shape(server: FakeServer, client: Client) -> None:
    async def other(_: web.Request) -> web.StreamResponse:
        return json_answer({"surprise": 1})

    server.answer("GET", "/agent/agt_1", other)
    with pytest.raises(OpsCoreProblem, match="not what the contract says"):
        await client.agents.get("agt_1")


async def test_what_is_tried_again_carries_the_same_key(server: FakeServer, client: Client) -> None:
    tries: list[tuple[str, str | None]] = []

    async def flaky(request: web.Request) -> web.StreamResponse:
        tries.append((request.method, request.headers.get("Idempotency-Key")))
        if len(tries) == 1:
            return problem_answer(503, "unavailable", "not now")
        if len(tries) == 2:
            assert request.transport is not None
            request.transport.abort()
        if len(tries) == 3:
            return problem_answer(409, "idempotency_running", "being carried out")
        return json_answer({"sessionId": "ses_1", "taskId": "tsk_1", "agents": []})

    server.answer("POST", "/task", flaky)
    server.answer("POST", "/session", flaky)
    assert (await client.tasks.enqueue("echo", {})).task_id == "tsk_1"
    body = msgspec.json.decode(server.requests[-1][2], type=EnqueueTask)
    assert body.capability == "echo"
    assert len(tries) == 4 and len(set(tries)) == 1 and tries[0][1]
    made = tries[0][1]
    await client.tasks.enqueue("echo", {})
    assert tries[-1][1] not in {made, None}
    tries.clear()
    assert (await client.start("t", idempotency_key="mine")).id == "ses_1"
    assert tries == [("POST", "mine")] * 4


async def test_reads_are_tried_again_and_claims_are_not(server: FakeServer, client: Client) -> None:
    tries: list[str] = []

    async def flaky(request: web.Request) -> web.StreamResponse:
        tries.append(request.method)
        assert "Idempotency-Key" not in request.headers
        if len(tries) == 1:
            return problem_answer(503, "unavailable", "not now")
        if len(tries) == 2:
            assert request.transport is not None
            request.transport.abort()
        return json_answer({"agents": []})

    server.answer("GET", "/agent", flaky)
    assert (await client.agents.list()).agents == []
    assert tries == ["GET"] * 3
    tries.clear()
    server.answer("POST", "/agent/agt_1/claim", flaky)
    with pytest.raises(OpsCoreProblem, match="not now"):
        await client.tasks.claim("agt_1", "i-1")
    with pytest.raises(ServerUnreachable, match="outcome of the request is unknown"):
        await client.tasks.claim("agt_1", "i-1")


async def test_nobody_there(unused_tcp_port: int) -> None:
    async with Client(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(ServerUnreachable) as caught:
            await client.health()
    assert not caught.value.sent
    assert str(unused_tcp_port) in str(caught.value)
    assert "OPSCORE_URL" in str(caught.value)


async def test_health_stands_at_the_root(server: FakeServer, client: Client) -> None:
    async def well(_: web.Request) -> web.StreamResponse:
        return json_answer({"status": "ok"})

    server.answer("GET", "//health", well)
    assert await client.health() == {"status": "ok"}
    with pytest.raises(OpsCoreProblem):
        await client.ready()


async def test_the_plain_client(server: FakeServer) -> None:
    Journal(server, 1)

    async def accept(_: web.Request) -> web.StreamResponse:
        return json_answer({"sessionId": "ses_1"}, 202)

    async def agents(_: web.Request) -> web.StreamResponse:
        return json_answer({"agents": []})

    server.answer("POST", "/session", accept)
    server.answer("GET", "/agent", agents)

    def work() -> None:
        with Client.sync(server.url) as client:
            run = client.start("report", {"path": "."})
            assert [one.seq for one in run.events()] == [1, 2, 3]
            assert run.result() == {"n": 1}
            assert client.agents.list().agents == []
            assert next(iter(client.run("ses_1").events())).seq == 1
            with pytest.raises(OpsCoreProblem):
                client.run("ses_9").status()

    await asyncio.to_thread(work)


async def test_signals_and_approvals(server: FakeServer) -> None:
    bodies: list[Any] = []

    async def signal(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return json_answer({"sessionId": "ses_1", "signalId": "s1"}, 202)

    async def approval(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            bodies.append(await request.json())
        return json_answer(samples.approval())

    async def approvals(request: web.Request) -> web.StreamResponse:
        bodies.append(dict(request.query))
        return json_answer(ApprovalPage(approvals=[samples.approval()]))

    server.answer("POST", "/session/ses_1/signal/paid", signal)
    server.answer("GET", "/approval", approvals)
    server.answer("GET", "/approval/apr_1-a", approval)
    server.answer("POST", "/approval/apr_1-a/approve", approval)
    server.answer("POST", "/approval/apr_1-a/reject", approval)
    async with Client(server.url) as client:
        assert await client.run("ses_1").signal("paid", {"n": 1}, signal_id="s1") == "s1"
        (found,) = (await client.approvals.list()).approvals
        assert found == await client.approvals.get("apr_1-a")
        await client.approvals.approve("apr_1-a", found.content_hash, by="ada", details=None)
        await client.approvals.approve("apr_1-a", found.content_hash)
        await client.approvals.reject("apr_1-a", comment="no")
    assert bodies == [
        {"payload": {"n": 1}, "signalId": "s1"},
        {"status": "pending"},
        {"contentHash": "0" * 64, "comment": "", "by": "ada", "details": None},
        {"contentHash": "0" * 64, "comment": ""},
        {"comment": "no"},
    ]


async def test_a_run_says_why_it_does_not_go_on(server: FakeServer) -> None:
    reason = ReasonView(kind="paused", message="paused by ada", since="2026-04-01T12:00:00Z")
    told = WhyView(session_id="ses_1", status="paused", at="2026-04-01T12:00:01Z", reasons=[reason])

    async def answer(_: web.Request) -> web.StreamResponse:
        return json_answer(told)

    for path in ("/session/ses_1/why", "/task/tsk_1/why"):
        server.answer("GET", path, answer)
    async with Client(server.url) as client:
        assert await client.run("ses_1").why() == told
        assert await client.sessions.why("ses_1") == await client.tasks.why("tsk_1") == told


async def test_a_run_says_where_its_time_went(server: FakeServer) -> None:
    told = samples.trace()

    async def answer(_: web.Request) -> web.StreamResponse:
        return json_answer(told)

    server.answer("GET", "/session/ses_1/trace", answer)
    async with Client(server.url) as client:
        assert await client.run("ses_1").trace() == told
        assert await client.sessions.trace("ses_1") == told


async def test_the_slowest_are_asked_for(server: FakeServer) -> None:
    told: SlowestView | UsageReport = SlowestView(
        since="2026-04-01T12:00:00Z", steps=[], targets=[]
    )
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(dict(request.query))
        return json_answer(told)

    server.answer("GET", "/trace/slowest", answer)
    async with Client(server.url) as client:
        assert await client.sessions.slowest(since="2h", limit=3) == told
        told = UsageReport(since="2026-04-01T12:00:00Z", by="day", groups=[])
        server.answer("GET", "/usage", answer)
        assert await client.sessions.usage(by="day") == told
    assert asked == [{"since": "2h", "limit": "3"}, {"by": "day", "since": "1d"}]


@pytest.mark.parametrize(
    ("face", "inner"),
    [
        (SyncAgents, Agents),
        (SyncWorkflows, Workflows),
        (SyncSessions, Sessions),
        (SyncTasks, Tasks),
        (SyncApprovals, Approvals),
        (SyncSchedules, Schedules),
        (SyncLimits, Limits),
        (SyncKeys, Keys),
        (SyncRun, Run),
        (SyncClient, Client),
    ],
)
def test_both_faces_have_the_same_methods(face: type, inner: type) -> None:
    for name, method in inspect.getmembers(inner, inspect.isfunction):
        if not name.startswith("_"):
            assert hasattr(face, name), f"{face.__name__} lacks {name}"
            if inspect.iscoroutinefunction(method) and name != "close":
                assert inspect.signature(getattr(face, name)) == inspect.signature(method)


def test_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPSCORE_URL", raising=False)
    assert Server.resolve(None, None, None).url == "http://127.0.0.1:8700"
    monkeypatch.setenv("OPSCORE_URL", "https://ops.example/base/")
    monkeypatch.setenv("OPSCORE_API_KEY", "k")
    monkeypatch.setenv("OPSCORE_NAMESPACE", "n")
    assert Server.resolve(None, None, None) == Server("https://ops.example/base", "k", "n")
    assert Server.resolve("http://other", "x", None).url == "http://other"
    with pytest.raises(ValueError, match="not the address of a server"):
        Server.resolve("ops.example:8700", None, None)


def test_delays_grow_to_their_bound() -> None:
    class Most:
        def uniform(self, _: float, most: float) -> float:
            return most

    backoff = Backoff(chance=Most())  # type: ignore[arg-type]
    assert [backoff.next() for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    backoff.reset()
    assert backoff.next() == 0.1


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_frames_of_any_cut(size: int) -> None:
    text = b": note\n\nid: 7\ndata: a\ndata:b\n\nevent: x\nid: 8\n\ndata: c\r\n\r\ndata: cut off"

    class Content:
        async def iter_any(self) -> AsyncIterator[bytes]:
            for start in range(0, len(text), size):
                yield text[start : start + size]

    content: Any = Content()
    assert [frame async for frame in frames(content)] == [
        ("7", "", b"a\nb"),
        ("8", "x", b""),
        ("8", "", b"c"),
    ]
