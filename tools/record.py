"""Records the journals of docs/journals/ from the real engine, on a clock that is moved by hand.

Everything that runs is the product itself, over a store in memory. Time moves only where a story
says so, chance is seeded, and a story waits for what it has set going: so the same code gives the
same bytes, and a journal that differs tells of a change in the product.

Beside the product's events a story notes what is no event: HTTP requests and answers, and
heartbeats, which renew leases and are not journaled.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeAlias

import msgspec

from opscore.api.app import create_app
from opscore.api.settings import ServerSettings
from opscore.core.types import SECOND, Actor, ErrorInfo, Micros
from opscore.engine.engine import Engine
from opscore.engine.lifecycle import AgentDetails, Connection
from opscore.engine.records import ClaimedAttempt, EventRecord, SettlementReport

START: Micros = 1_800_000_000 * SECOND
SEED = 20
SLEEPERS = 2
"""The engine's loops that wait for time when nothing happens: the sweeper and the roll call."""

Line: TypeAlias = dict[str, Any]
OPERATOR = Actor("operator", "ada")

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class ManualClock:
    """Time stands still until `pass_time`, which first lets the engine come to rest."""

    def __init__(self) -> None:
        self._now = START
        self._sleeping: dict[asyncio.Event, Micros] = {}
        self._changed = asyncio.Event()

    def now(self) -> Micros:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await self.wait(asyncio.Event(), seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        if event.is_set() or seconds <= 0:
            return event.is_set()
        bell = asyncio.Event()
        self._sleeping[bell] = self._now + round(seconds * SECOND)
        self._changed.set()
        try:
            await first_of(event, bell)
        finally:
            del self._sleeping[bell]
        return event.is_set()

    async def pass_time(self, seconds: float) -> None:
        while len(self._sleeping) < SLEEPERS:
            self._changed.clear()
            await self._changed.wait()
        self._now += round(seconds * SECOND)
        for bell, due in self._sleeping.items():
            if due <= self._now:
                bell.set()


async def first_of(*events: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = {group.create_task(event.wait()) for event in events}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()


class Hands:
    """An agent's process as the engine sees it: it is handed attempts and told things."""

    local = False

    def __init__(self) -> None:
        self._given: asyncio.Queue[ClaimedAttempt] = asyncio.Queue()

    async def attempt(self) -> ClaimedAttempt:
        return await self._given.get()

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        for attempt in attempts:
            self._given.put_nowait(attempt)

    def cancel(
        self, attempts: Sequence[tuple[str, int]], reason: str, grace_seconds: float
    ) -> None:
        raise AssertionError(f"no story cancels, and yet: {attempts}, {reason}, {grace_seconds}")

    def drain(self, reason: str) -> None:
        """The event says it."""

    def close(self, reason: str) -> None:
        """The event says it."""


class Story:
    """An engine, its clock, and the lines written so far."""

    def __init__(self, engine: Engine, clock: ManualClock) -> None:
        self.engine = engine
        self.clock = clock
        self.lines: list[Line] = []
        self._heard = asyncio.Event()
        self._app = create_app(engine, ServerSettings(development=True))
        engine.hooks.on("*", self._hear)

    def _hear(self, event: EventRecord) -> None:
        owner = {"agentId": event.agent_id} if event.agent_id else {"sessionId": event.session_id}
        self._write(event.at, event.type, owner, msgspec.json.decode(event.data))
        self._heard.set()

    def note(self, kind: str, agent: str | None = None, **data: Any) -> None:
        self._write(self.clock.now(), kind, {"agentId": agent} if agent else {}, data)

    def _write(self, at: Micros, kind: str, owner: Line, data: Line) -> None:
        self.lines.append({"at": at, "type": kind, **owner, "data": data})

    async def until(self, kind: str, **data: Any) -> None:
        """Wait until the journal has an event of this type with these data."""
        while not any(_fits(line, kind, data) for line in self.lines):
            self._heard.clear()
            await self._heard.wait()

    async def agent(self, name: str, *capabilities: str) -> tuple[Hands, Connection]:
        """Register an agent and connect one process of it."""
        details = AgentDetails(name, agent_id=name, capabilities=capabilities)
        await self.engine.lifecycle.register_agent(details, actor=Actor("agent", name))
        hands = Hands()
        connection = await self.engine.lifecycle.connect(
            name, instance_id=f"{name}-1", max_in_flight=1, holding=[], receiver=hands
        )
        return hands, connection

    async def settle(
        self, attempt: ClaimedAttempt, output: Any = None, error: ErrorInfo | None = None
    ) -> None:
        """Report an attempt a little later, as its agent would."""
        await self.clock.pass_time(0.02)
        outcome = "completed" if error is None else "failed"
        encoded = msgspec.Raw(msgspec.json.encode(output))
        report = SettlementReport(attempt.task_id, attempt.attempt, outcome, encoded, error)
        [verdict] = await self.engine.orchestration.settle([report])
        assert verdict.verdict == "recorded", verdict

    async def request(self, method: str, path: str, body: Any, **headers: str) -> Any:
        """One HTTP request to the real application; gives the decoded answer."""
        self.note("http.request", method=method, path=path)
        status, answer = await exchange(self._app, method, path, body, headers)
        self.note("http.response", status=status)
        return answer


def _fits(line: Line, kind: str, data: Line) -> bool:
    return line["type"] == kind and data.items() <= line["data"].items()


async def exchange(
    app: Any, method: str, path: str, body: Any, headers: Mapping[str, str]
) -> tuple[int, Any]:
    """One request to an ASGI application, and its answer, without a socket between."""
    arriving = iter([{"type": "http.request", "body": msgspec.json.encode(body)}])
    answer: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        message = next(arriving, None)
        if message is None:  # the client stays for the answer
            await asyncio.Event().wait()
        return message or {}

    async def send(message: Mapping[str, Any]) -> None:
        answer.append(message)

    # With a trace of the caller's own, the server draws no random one.
    given = {"host": "127.0.0.1", "content-type": "application/json", "traceparent": TRACE}
    given |= headers
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8700),
        "state": {},
    }
    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in answer)
    return answer[0]["status"], msgspec.json.decode(content)


@asynccontextmanager
async def telling() -> AsyncGenerator[Story]:
    clock = ManualClock()
    engine = await Engine.open("sqlite:///:memory:", clock=clock, chance=Random(SEED))
    try:
        yield Story(engine, clock)
    finally:
        await engine.close()


# -- the stories --------------------------------------------------------------------------------


async def lifecycle(story: Story) -> None:
    """An agent from its registration to the verdict that it is gone."""
    verbs, clock = story.engine.lifecycle, story.clock
    name, itself = "translator", Actor("agent", "translator")
    details = AgentDetails(name, agent_id=name, capabilities=("translate",))
    await verbs.register_agent(details, actor=itself)
    await clock.pass_time(0.1)
    await verbs.set_state(name, "initializing", {"loading": "model"}, actor=itself)
    await clock.pass_time(2.5)
    connection = await verbs.connect(
        name, instance_id="translator-1", max_in_flight=2, holding=[], receiver=Hands()
    )
    await clock.pass_time(5)
    await connection.heartbeat([])
    story.note("heartbeat", name, instanceId="translator-1")
    await clock.pass_time(1)
    await verbs.drain(name, reason="a new version", actor=OPERATOR)
    await clock.pass_time(1)
    await verbs.activate(name, actor=OPERATOR)
    await clock.pass_time(1)
    await connection.disconnect()
    await clock.pass_time(46)
    await story.until("agent.state_changed", state="offline")


async def workflow(story: Story) -> None:
    """A step that is tried twice and then left to another agent; the session still completes."""
    template = {
        "name": "article",
        "version": "1",
        "steps": {
            "fetch": {
                "capability": "fetch",
                "retry": {"maxAttempts": 2, "initialDelay": "1s", "jitter": 0},
                "fallback": [{"agent": "archive"}],
            },
            "summarise": {
                "needs": "fetch",
                "capability": "summarise",
                "with": {"text": "${{ steps.fetch.output }}"},
            },
        },
        "output": "${{ steps.summarise.output }}",
    }
    fetcher, _ = await story.agent("fetcher", "fetch")
    archive, _ = await story.agent("archive")
    writer, _ = await story.agent("writer", "summarise")
    await story.engine.orchestration.create_workflow(template)
    story.lines.clear()  # the first journal shows how agents come
    session = await story.engine.orchestration.start("article", actor=OPERATOR)
    busy = ErrorInfo("rate_limited", "too many requests")
    await story.settle(await fetcher.attempt(), error=busy)
    await story.clock.pass_time(1)
    await story.settle(await fetcher.attempt(), error=busy)
    await story.settle(await archive.attempt(), "a long text")
    await story.settle(await writer.attempt(), "a short text")
    ended = await story.engine.orchestration.get_session(session)
    assert ended.output is not None and bytes(ended.output) == b'"a short text"', ended


async def api_call(story: Story) -> None:
    """A caller starts a session over HTTP and waits; an agent settles it; the answer has the output."""
    template = {"name": "greet", "version": "1", "steps": {"hello": {"capability": "greet"}}}
    template["output"] = "${{ steps.hello.output }}"
    await story.engine.orchestration.create_workflow(template)
    greeter, _ = await story.agent("greeter", "greet")
    story.lines.clear()  # the first journal shows how agents come
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(
            story.request("POST", "/v1/opscore/session", {"workflow": "greet"}, prefer="wait=30")
        )
        await story.settle(await greeter.attempt(), "hello")
    assert asking.result()["output"] == "hello", asking.result()


STORIES: Mapping[str, Callable[[Story], Awaitable[None]]] = {
    "01-the-life-of-an-agent.jsonl": lifecycle,
    "02-a-workflow-with-retry-and-fallback.jsonl": workflow,
    "03-an-API-call-from-request-to-answer.jsonl": api_call,
}


def journals() -> dict[str, str]:
    """The text of every journal, by the name of its file."""
    return {name: asyncio.run(_told(tell)) for name, tell in STORIES.items()}


async def _told(tell: Callable[[Story], Awaitable[None]]) -> str:
    async with telling() as story:
        async with asyncio.timeout(60):
            await tell(story)
        lines = list(story.lines)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
