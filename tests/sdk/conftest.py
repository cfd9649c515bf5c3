"""A small server that speaks the wire protocol strictly and lets a test decide every answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from opscore.sdk import Agent
from opscore.wire.agent import AgentHeartbeat, Attempt, HeartbeatAnswer, RegisterAgent
from opscore.wire.base import PointedError, Problem
from opscore.wire.stream import (
    AgentMessage,
    Hello,
    Settle,
    Tasks,
    ToAgent,
    VerdictsFor,
    Welcome,
)
from opscore.wire.task import Settlement, Verdict

M = TypeVar("M")
BASE = "/v1/opscore"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
_messages: msgspec.json.Decoder[AgentMessage] = msgspec.json.Decoder(AgentMessage)


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    """A command that ran in this process before may have quietened the log."""
    caplog.set_level("INFO")


def attempt_of(
    capability: str | None, input: object, *, number: int = 1, attempt: int = 1, step: str = "only"
) -> Attempt:
    return Attempt(
        task_id=f"tsk_{number}",
        attempt=attempt,
        session_id="ses_1",
        step=step,
        capability=capability,
        input=msgspec.Raw(msgspec.json.encode(input)),
        context=msgspec.Raw(b'{"who": "me"}'),
        idempotency_key=f"key_{number}",
        deadline="2030-01-02T03:04:05Z",
        traceparent=f"00-{'4' * 32}-{'5' * 16}-01",
    )


def json_answer(value: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


def problem_answer(status: int, code: str, detail: str, pointer: str = "") -> web.Response:
    errors = [PointedError(pointer=pointer, message=detail)] if pointer else []
    problem = Problem(
        type="about:blank", title=code, status=status, detail=detail, code=code, errors=errors
    )
    return web.Response(
        body=msgspec.json.encode(problem), status=status, content_type="application/problem+json"
    )


class Link:
    """One WebSocket of an agent, seen from the server; `hello` has been read."""

    def __init__(self, socket: web.WebSocketResponse, hello: Hello) -> None:
        self.socket = socket
        self.hello = hello
        self.ended = asyncio.Event()

    async def send(self, message: ToAgent) -> None:
        await self.socket.send_str(msgspec.json.encode(message).decode())

    async def tasks(self, *attempts: Attempt) -> None:
        await self.send(Tasks(tasks=list(attempts)))

    async def receive(self, kind: type[M]) -> M:
        message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, f"expected {kind.__name__}: {message}"
        decoded = _messages.decode(message.data)
        assert isinstance(decoded, kind), decoded
        return decoded

    async def settlements(self) -> list[Settlement]:
        """The next batch, with `recorded` for each."""
        settle = await self.receive(Settle)
        await self.judge(settle)
        return settle.settlements

    async def judge(self, settle: Settle, word: Any = "recorded", detail: str = "") -> None:
        verdicts = [
            Verdict(task_id=one.task_id, attempt=one.attempt, verdict=word, detail=detail)
            for one in settle.settlements
        ]
        await self.send(VerdictsFor(verdicts=verdicts, ref=settle.ref))

    async def close(self) -> None:
        await self.socket.close()
        self.ended.set()


class FakeServer:
    """Answers registration, heartbeat and channel; `answer` sets or replaces any other route."""

    def __init__(self) -> None:
        self.registrations: list[RegisterAgent] = []
        self.requests: list[tuple[str, str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.beats: asyncio.Queue[AgentHeartbeat] = asyncio.Queue()
        self.links: asyncio.Queue[Link] = asyncio.Queue()
        self.every_link: list[Link] = []
        self.stale: list[tuple[str, int]] = []
        self.payload_limit = 262_144
        self.heartbeat_seconds = 5.0
        self.lease_seconds = 15.0
        self.url = ""
        self._answers: dict[tuple[str, str], Answer] = {
            ("POST", f"{BASE}/agent"): self._register,
            ("POST", f"{BASE}/agent/agt_1/heartbeat"): self._beat,
            ("GET", f"{BASE}/agent/agt_1/channel"): self._channel,
        }

    def answer(self, method: str, path: str, answer: Answer) -> None:
        root = path.startswith("//")
        self._answers[method, path[1:] if root else BASE + path] = answer

    async def link(self, *, welcome: bool = True) -> Link:
        """The next connection of an agent."""
        link = await self.links.get()
        if welcome:
            await link.send(self.welcome())
        return link

    def welcome(self, stale: list[tuple[str, int]] | None = None) -> Welcome:
        return Welcome(
            agent_id="agt_1",
            lease_seconds=self.lease_seconds,
            heartbeat_seconds=self.heartbeat_seconds,
            payload_limit=self.payload_limit,
            stale=stale or [],
        )

    async def dispatch(self, request: web.Request) -> web.StreamResponse:
        answer = self._answers.get((request.method, request.path))
        if answer is None:
            return problem_answer(404, "not_found", f"no {request.method} {request.path}")
        if request.headers.get("Upgrade") is None:
            self.requests.append((request.method, request.path_qs, await request.read()))
            self.headers.append(dict(request.headers))
        return await answer(request)

    async def _register(self, request: web.Request) -> web.StreamResponse:
        self.registrations.append(msgspec.json.decode(await request.read(), type=RegisterAgent))
        return json_answer({"agentId": "agt_1"}, 201)

    async def _beat(self, request: web.Request) -> web.StreamResponse:
        beat = msgspec.json.decode(await request.read(), type=AgentHeartbeat)
        answer = HeartbeatAnswer(stale=self.stale)
        await self.beats.put(beat)
        return json_answer(answer)

    async def _channel(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        hello = _messages.decode((await socket.receive()).data)
        assert isinstance(hello, Hello)
        link = Link(socket, hello)
        self.every_link.append(link)
        await self.links.put(link)
        await link.ended.wait()
        return socket


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    fake = FakeServer()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", fake.dispatch)
    running = TestServer(app)
    # A heartbeat may be half-way when the test ends; nobody waits for its answer.
    await running.start_server(shutdown_timeout=0)
    try:
        fake.url = str(running.make_url("")).rstrip("/")
        yield fake
    finally:
        for link in fake.every_link:
            link.ended.set()
        await running.close()


@pytest.fixture
def serving() -> Callable[[Agent], Any]:
    """Serve an agent inside the test's loop; it is stopped, without waiting, in the end."""

    @asynccontextmanager
    async def serve(agent: Agent) -> AsyncGenerator[asyncio.Task[None], None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(agent.serve())
            try:
                yield task
            finally:
                task.cancel()

    return serve
