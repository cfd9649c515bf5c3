"""Agents of the simulation: instances that work, freeze, forget, repeat themselves, and keep a ledger."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from opscore.engine.engine import Engine
from opscore.engine.lifecycle import AgentDetails
from tests.torture.life import BEGAN
from tests.torture.network import Lost, Network, Reply, Wire

Attempt = tuple[str, int]


@dataclass
class Habits:
    """How an agent behaves; probabilities per attempt, and seconds."""

    fails: float = 0.15
    fatal: float = 0.03
    releases: float = 0.05
    repeats: float = 0.1
    slow: float = 0.1
    longest: float = 8.0
    beat: float = 1.3


@dataclass
class Held:
    """What an instance works on, or has not heard a verdict of."""

    task: Mapping[str, Any]
    work: asyncio.Task[None] | None = None
    settlement: dict[str, Any] | None = None
    sent_at: float = 0.0


class Instance(ABC):
    """One process of an agent; `kill` ends it without a word."""

    streams = True

    def __init__(
        self,
        network: Network,
        chance: Random,
        ledger: list[Mapping[str, Any]],
        name: str,
        number: int,
        slots: int,
        habits: Habits,
    ) -> None:
        self.network = network
        self.chance = chance
        self.name = name
        self.agent_id = f"agt_{name}"
        self.instance = f"{name}-{number}"
        self.slots = slots
        self.habits = habits
        self.held: dict[Attempt, Held] = {}
        self.seen: set[Attempt] = set()
        self._ledger = ledger
        self._frozen_until = 0.0
        self.running: asyncio.Task[None] | None = None

    # Life

    def begin(self) -> None:
        """Start the process."""
        self.held, self.seen = {}, set()
        self.running = self.network.loop.create_task(self.run(), context=self.network.loop.world)

    def kill(self) -> None:
        """`kill -9`: what it held it does not know any more."""
        for held in self.held.values():
            if held.work is not None:
                held.work.cancel()
        if self.running is not None:
            self.running.cancel()

    def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long."""
        self._frozen_until = self.network.loop.time() + seconds

    async def thawed(self) -> None:
        """Go on when nobody stands in the way."""
        while (left := self._frozen_until - self.network.loop.time()) > 1e-5:  # noqa: ASYNC110
            await asyncio.sleep(left)

    async def run(self) -> None:
        """Connect again and again."""
        while True:
            try:
                await self.serve()
            except Lost:
                await asyncio.sleep(0.1 + self.chance.random())

    @abstractmethod
    async def serve(self) -> None:
        """Register, connect, and work until the connection is gone. Raises Lost."""

    async def register(self) -> None:
        """Say who it is. Raises Lost."""
        capabilities = ("work", "other") if self.streams else ("work",)
        details = AgentDetails(
            agent_id=self.agent_id, agent_name=self.name, capabilities=capabilities
        )

        async def work(engine: Engine) -> Reply:
            await engine.lifecycle.register_agent(details)
            return Reply(200, {})

        await self.ask(work)

    async def ask(self, work: Callable[[Engine], Awaitable[Reply]]) -> Reply:
        """A request of this agent. Raises Lost; refusals too are answers, but for 503."""
        reply = await self.network.ask(self.instance, work)
        if reply.status >= 500:
            raise Lost(f"{reply.status}")
        return reply

    # Ledger

    @property
    def now(self) -> int:
        """The time in journals."""
        return BEGAN + self.network.loop.micros

    def write(self, did: str, attempt: Attempt | None = None, **more: Any) -> None:
        """Note what was done, before anything else is."""
        which = {} if attempt is None else {"task": attempt[0], "attempt": attempt[1]}
        record = {"did": did, "instance": self.instance, "at": self.now, **which, **more}
        self._ledger.append(record)

    # Work

    def take(self, task: Mapping[str, Any]) -> None:
        """Begin an attempt, unless it is known."""
        attempt = (task["taskId"], task["attempt"])
        if attempt in self.seen:
            return
        self.seen.add(attempt)
        self.write("began", attempt, stream=self.streams)
        held = self.held[attempt] = Held(task)
        held.work = self.network.loop.create_task(self._work(attempt, held))

    async def _work(self, attempt: Attempt, held: Held) -> None:
        habits, dice = self.habits, self.chance.random()
        longest = habits.longest if self.chance.random() < habits.slow else 1.0
        length = held.task["input"].get("seconds")
        await asyncio.sleep(self.chance.random() * longest if length is None else length)
        await self.thawed()
        settlement: dict[str, Any] = {"taskId": attempt[0], "attempt": attempt[1]}
        if dice < habits.fatal:
            settlement |= {"outcome": "failed", "error": {"class": "fatal", "message": "no"}}
        elif dice < habits.fatal + habits.fails:
            settlement |= {"outcome": "failed", "error": {"class": "error", "message": "not yet"}}
        elif dice < habits.fatal + habits.fails + habits.releases:
            settlement |= {"outcome": "released"}
        else:
            self.write("effect", attempt, key=held.task["idempotencyKey"])
            settlement |= {"outcome": "completed", "output": {"by": self.instance}}
        held.settlement = settlement
        self.report(held)

    @abstractmethod
    def report(self, held: Held) -> None:
        """Send what came of an attempt."""

    def stop(self, attempt: Attempt, why: str) -> None:
        """The server says that this attempt is not wanted any more."""
        self.write("told", attempt, why=why)
        held = self.held.get(attempt)
        if held is None or held.settlement is not None:
            return
        if held.work is not None:
            held.work.cancel()
        if why == "cancel":
            error = {"class": "cancelled", "message": "told to stop"}
            held.settlement = {
                "taskId": attempt[0],
                "attempt": attempt[1],
                "outcome": "failed",
                "error": error,
            }
            self.report(held)
        else:
            del self.held[attempt]

    def judged(self, verdicts: list[dict[str, Any]], known: Mapping[Attempt, str]) -> None:
        """Verdicts on what was reported: `known` has the outcomes by attempt."""
        for verdict in verdicts:
            attempt = (verdict["taskId"], verdict["attempt"])
            if attempt in known:
                self.write("verdict", attempt, outcome=known[attempt], verdict=verdict["verdict"])
            held = self.held.get(attempt)
            if held is not None and held.settlement is not None:
                del self.held[attempt]


class Streaming(Instance):
    """Connected by WebSocket."""

    _wire: Wire | None = None

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._ref = 0
        self._sent: dict[int, dict[Attempt, str]] = {}
        self._beats: list[tuple[int, int, list[Attempt]]] = []

    async def serve(self) -> None:
        await self.register()
        wire = self._wire = await self.network.connect(self.instance, self.agent_id)
        self._beats.clear()
        wire.say(
            {
                "type": "hello",
                "instanceId": self.instance,
                "maxInFlight": self.slots,
                "holding": [list(attempt) for attempt in self.held],
            }
        )
        self.write("connected", slots=self.slots)
        beating = self.network.loop.create_task(self._beat(wire))
        try:
            while (message := await wire.hear()) is not None:
                await self.thawed()
                self._take_in(wire, message)
        finally:
            beating.cancel()
            wire.cut()

    def _take_in(self, wire: Wire, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "welcome":
                for task, attempt in message["stale"]:
                    self.stop((task, attempt), "stale")
                for held in [*self.held.values()]:
                    self.report(held)
            case "tasks":
                for task in message["tasks"]:
                    self.take(task)
            case "verdicts":
                self._beaten(wire, message["ref"])
                self.judged(message["verdicts"], self._sent.get(message["ref"], {}))
            case "cancel" | "stale" as why:
                gone = {(task, attempt) for task, attempt in message["attempts"]}
                self._beats = [(ref, at, [*{*of} - gone]) for ref, at, of in self._beats]
                for attempt in sorted(gone):
                    self.stop(attempt, why)
            case _:
                return

    def _beaten(self, wire: Wire, ref: int) -> None:
        """Beats sent before what is answered now were read before it."""
        over = [beat for beat in self._beats if beat[0] <= ref]
        self._beats = [beat for beat in self._beats if beat[0] > ref]
        if wire.faithful:
            for _, at, attempts in over:
                for attempt in attempts:
                    if attempt in self.held:
                        self.write("beat", attempt, at=at)

    async def _beat(self, wire: Wire) -> None:
        while not wire.is_cut:
            await asyncio.sleep(self.habits.beat)
            await self.thawed()
            now = self.network.loop.time()
            attempts = [a for a, held in self.held.items() if held.settlement is None]
            wire.say({"type": "heartbeat", "attempts": [list(attempt) for attempt in attempts]})
            self._beats.append((self._ref + 1, self.now, attempts))
            for held in [*self.held.values()]:
                if held.settlement is not None and held.sent_at < now - 5:
                    self.report(held)

    def report(self, held: Held) -> None:
        if held.settlement is None or self._wire is None or self._wire.is_cut:
            return
        self._send(held.settlement)
        held.sent_at = self.network.loop.time()
        if self.chance.random() < self.habits.repeats:
            late = self.chance.choice((0.0, 1.0, 20.0))
            self.network.loop.outside(late, self._send, held.settlement)

    def _send(self, settlement: dict[str, Any]) -> None:
        self._ref += 1
        attempt = (settlement["taskId"], settlement["attempt"])
        self._sent[self._ref] = {attempt: settlement["outcome"]}
        if self._wire is not None:
            self._wire.say({"type": "settle", "settlements": [settlement], "ref": self._ref})
