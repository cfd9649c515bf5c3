"""A server that answers what a test tells it to, on a real socket and in its own thread.

Bodies are decoded with the wire's own strict types, so a command that sends what the contract does
not have is refused here just as by the real server.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from opscore.wire import agent, approval, session, task
from opscore.wire.base import PointedError, Problem

BASE = "/v1/opscore"
BODIES: Mapping[tuple[str, str], Any] = {
    ("POST", "/agent"): agent.RegisterAgent,
    ("POST", "drain"): agent.DrainAgent,
    ("POST", "/session"): session.StartSession,
    ("PATCH", "session"): session.PatchSession,
    ("POST", "/task"): task.EnqueueTask,
    ("PATCH", "task"): task.PatchTask,
    ("POST", "approve"): approval.Approve,
    ("POST", "reject"): approval.Reject,
}


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class FakeServer:
    """`answers` maps `METHOD /path` to what is answered, one after another; the last one stays."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self._answers: dict[str, list[Answer]] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def on(self, request: str, *bodies: object, status: int = 200, **headers: str) -> None:
        """Answer `request` with these bodies in turn."""
        self._answers[request] = [
            Answer(
                status,
                body if isinstance(body, bytes) else msgspec.json.encode(body),
                {name.replace("_", "-"): value for name, value in headers.items()},
            )
            for body in bodies
        ]

    def refuse(
        self, request: str, status: int, detail: str, *faults: PointedError, **headers: str
    ) -> None:
        """Answer `request` with a problem document."""
        problem = Problem(
            type="about:blank",
            title="refused",
            status=status,
            detail=detail,
            code="refused",
            errors=list(faults),
        )
        self.on(request, problem, status=status, **headers)

    def refuse_after(self, request: str, status: int, detail: str) -> None:
        """After what `request` is answered already, refuse it."""
        self._answers[request].append(Answer(status, _problem(status, detail)))

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._open())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0].removeprefix(BASE)
        body = await request.read()
        self.seen.append(Seen(request.method, path, request.query, request.headers, body))
        answer = self._chosen(f"{request.method} {path}", request.method, path, body)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def _chosen(self, name: str, method: str, path: str, body: bytes) -> Answer:
        try:
            _check_body(method, path, body)
        except msgspec.MsgspecError as wrong:
            return Answer(400, _problem(400, f"the body is refused: {wrong}"))
        queue = self._answers.get(name)
        if queue is None:
            return Answer(404, _problem(404, f"nothing at {name}"))
        return queue.pop(0) if len(queue) > 1 else queue[0]


def _check_body(method: str, path: str, body: bytes) -> None:
    parts = path.strip("/").split("/")
    for key in ((method, path), (method, parts[-1]), (method, parts[0])):
        if kind := BODIES.get(key):
            msgspec.json.decode(body, type=kind)
            return


def _problem(status: int, detail: str) -> bytes:
    return msgspec.json.encode(
        Problem(type="about:blank", title="", status=status, detail=detail, code="x")
    )
