"""The network between the server and everybody else: late, lost, doubled, reordered, cut."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from opscore.core.errors import Refusal
from opscore.engine.engine import Engine
from tests.torture.life import Life
from tests.torture.loop import SimulatedLoop

PATIENCE = 10.0
"""Seconds after which a request without an answer is given up."""


class Lost(Exception):
    """No answer came; nobody knows whether the request was carried out."""


@dataclass
class Weather:
    """How bad the network is: probabilities per message, and seconds."""

    lose: float = 0.0
    double: float = 0.0
    reorder: float = 0.0
    late: float = 0.0
    latest: float = 5.0
    cut: float = 0.0

    def calm_down(self) -> None:
        """From now on every message arrives, soon and once."""
        self.lose = self.double = self.reorder = self.late = self.cut = 0.0


@dataclass
class Reply:
    """What a request was answered."""

    status: int
    body: Mapping[str, Any]


class Network:
    """Carries requests and connections to whichever life of the server there is.

    `crashes` has what the server should never have raised.
    """

    def __init__(self, loop: SimulatedLoop, chance: Random, weather: Weather) -> None:
        self.loop = loop
        self.weather = weather
        self.life: Life | None = None
        self.crashes: list[str] = []
        self.apart: set[str] = set()
        """Who is cut off from the server."""
        self._chance = chance

    def delay(self) -> float:
        """How long a message takes."""
        if self._chance.random() < self.weather.late:
            return self._chance.random() * self.weather.latest
        return 0.0002 + self._chance.random() * 0.003

    def happens(self, probability: float) -> bool:
        """Whether something of this probability happens now."""
        return self._chance.random() < probability

    # Requests

    async def ask(self, who: str, work: Callable[[Engine], Awaitable[Reply]]) -> Reply:
        """Send a request. Raises Lost."""
        life = self.life
        if life is None or not life.ready or who in self.apart:
            await asyncio.sleep(0.1 + self._chance.random() * 0.4)
            raise Lost("nobody answers")
        answer: asyncio.Future[Reply] = self.loop.create_future()
        if not self.happens(self.weather.lose):
            self.loop.outside(self.delay(), self._arrive, life, work, answer)
        if self.happens(self.weather.double):
            late = self._chance.random() * 20
            self.loop.outside(late, lambda: self._arrive(self.life, work, None))
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            raise Lost("no answer came") from None

    def _arrive(
        self,
        life: Life | None,
        work: Callable[[Engine], Awaitable[Reply]],
        answer: asyncio.Future[Reply] | None,
    ) -> None:
        if life is None or not life.ready:
            return
        task = life.ask(lambda engine: self._carry_out(life, engine, work))
        if answer is not None and not self.happens(self.weather.lose):
            task.add_done_callback(
                lambda done: self.loop.outside(self.delay(), _give, answer, done),
                context=self.loop.world,
            )

    async def _carry_out(
        self, life: Life, engine: Engine, work: Callable[[Engine], Awaitable[Reply]]
    ) -> Reply:
        try:
            return await work(engine)
        except Refusal as refusal:
            return Reply(refusal.status, {"code": refusal.code, "detail": refusal.detail})
        except Exception as error:  # noqa: BLE001 - the API answers 500 then
            if life.ready:  # nobody asks a server that is stopping, so what it says then is nothing
                self.crashes.append(repr(error))
            return Reply(500, {"detail": repr(error)})

    # Connections

    async def connect(self, who: str, agent_id: str) -> Wire:
        """Open a connection of an instance. Raises Lost."""
        await asyncio.sleep(self.delay())
        life = self.life
        if life is None or not life.ready or who in self.apart:
            raise Lost("nobody answers")
        wire = Wire(self, who)
        life.serve(wire, agent_id)
        return wire


def _give(answer: asyncio.Future[Reply], done: asyncio.Future[Reply]) -> None:
    if not answer.done() and not done.cancelled() and done.exception() is None:
        answer.set_result(done.result())


class Wire:
    """One WebSocket. `faithful` while every message has arrived once and in its order."""

    def __init__(self, network: Network, who: str) -> None:
        self._network = network
        self._who = who
        self._up: deque[str] = deque()
        self._down: deque[str] = deque()
        self._waiting: dict[bool, asyncio.Future[None] | None] = {True: None, False: None}
        self._last = {True: 0.0, False: 0.0}
        self.is_cut = False
        self.faithful = True
        self.crashes = network.crashes

    def cut(self) -> None:
        """The connection is gone, for both sides; what was under way is lost."""
        if not self.is_cut:
            self.is_cut = True
            for up in (True, False):
                self._wake(up)

    def _wake(self, up: bool) -> None:
        waiting, self._waiting[up] = self._waiting[up], None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _carry(self, up: bool, text: str) -> None:
        network, weather = self._network, self._network.weather
        if network.happens(weather.cut):
            network.loop.outside(network.delay(), self.cut)
        if network.happens(weather.lose) or self._who in network.apart:
            self.faithful = False
            return
        at = network.loop.time() + network.delay()
        if network.happens(weather.reorder):
            self.faithful = False
        else:
            at = self._last[up] = max(at, self._last[up])
        network.loop.outside(at - network.loop.time(), self._arrive, up, text)
        if network.happens(weather.double):
            self.faithful = False
            network.loop.outside(at + network.delay() - network.loop.time(), self._arrive, up, text)

    def _arrive(self, up: bool, text: str) -> None:
        if not self.is_cut:
            (self._up if up else self._down).append(text)
            self._wake(up)

    async def _next(self, up: bool) -> str | None:
        line = self._up if up else self._down
        while not line:
            if self.is_cut:
                return None
            waiting = self._waiting[up] = self._network.loop.create_future()
            await waiting
        return line.popleft()

    # The instance's side

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a message to the server."""
        if not self.is_cut:
            self._carry(True, json.dumps(message))

    async def hear(self) -> dict[str, Any] | None:
        """The next message of the server; None when the connection is gone."""
        text = await self._next(False)
        return None if text is None else json.loads(text)

    # The server's side

    async def receive(self) -> dict[str, Any]:
        """As ASGI has it."""
        text = await self._next(True)
        if text is None:
            return {"type": "websocket.disconnect", "code": 1006}
        return {"type": "websocket.receive", "text": text}

    async def send(self, event: Mapping[str, Any]) -> None:
        """As ASGI has it. Raises OSError when the peer is gone."""
        if self.is_cut:
            raise ConnectionResetError
        if event["type"] == "websocket.close":
            self._network.loop.outside(self._network.delay(), self.cut)
        else:
            self._carry(False, event["text"])
