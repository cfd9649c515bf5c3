"""Damages what an instance says on its WebSocket, while a neighbour works beside it.

What must hold: the server closes with a reason and never with 1011, stays healthy, and records
only what was said in a form that it accepts; the neighbour notices nothing.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any
from urllib.parse import urlsplit

import msgspec

from opscore.sdk import Client
from opscore.wire.agent import RegisterAgent
from opscore.wire.stream import AgentMessage, Settle
from opscore.wire.task import TaskAccepted
from tools.fuzz import frames
from tools.fuzz.frames import Frame, NoAnswer, Socket, fragmented, frame
from tools.fuzz.mutations import Tree, damaged, mutated
from tools.fuzz.neighbour import Neighbour

NAME = "fuzzed"
INTERNAL = 1011
HUGE = 17 * 1024 * 1024
"""Bytes: more than the server reads of one message."""
PATIENCE = 50
"""Rounds in which tasks may arrive; another instance that has just left may still hold them."""
MARK = b"are you there"
BASE = "/v1/opscore"
_message: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AgentMessage)


class Found(Exception):
    """A promise that a case breaks."""


class Case:
    """One connection: a few messages, each as it should be or damaged."""

    def __init__(self, number: int, seed: int, client: Client, neighbour: Neighbour) -> None:
        self._chance = Random(f"{seed}:{number}")
        self._instance = f"i{number}"
        self._client = client
        self._neighbour = neighbour
        self._claimed: set[tuple[str, int, str]] = set()
        self._attempts: list[tuple[str, int]] = [("tsk_none", 1)]
        self._made: list[TaskAccepted] = []
        self._unfinished = False
        self._verdicts_due = 0
        self.ended = "left"

    async def run(self, agent_id: str, key: str) -> None:
        """Raises `Found`."""
        where = urlsplit(self._client.url)
        path = f"/agent/{agent_id}/channel" if self._chance.random() < 0.95 else "/event/ws"
        socket = await Socket.open(where.hostname or "", where.port or 0, BASE + path, key)
        try:
            await self._talk(socket)
        except NoAnswer:
            raise Found("the server neither answers nor closes") from None
        finally:
            socket.leave()
        for one in self._made:
            await self._check_record(one.task_id)
            await self._clear(one.session_id)

    async def _talk(self, socket: Socket) -> None:
        if self._chance.random() < 0.8 and not await self._begin(socket):
            return
        for _ in range(self._chance.randrange(1, 9)):
            await socket.send(self._framed(self._text()))
            if self._unfinished or not await self._listen(socket):
                return

    async def _begin(self, socket: Socket) -> bool:
        """Say hello as one should, and take tasks; whether the connection stands."""
        await socket.send(frame(frames.TEXT, json.dumps(self._hello()).encode()))
        for n in range(self._chance.randrange(5)):
            enqueued = self._client.tasks.enqueue(NAME, {"n": n}, retry={"maxAttempts": 1})
            self._made.append(await enqueued)
        for _ in range(PATIENCE):
            if not await self._listen(socket):
                return False
            if len(self._attempts) > len(self._made):
                break
        return True

    async def _listen(self, socket: Socket) -> bool:
        """Read until the server has answered all that it was sent; whether it goes on."""
        await socket.send(frame(frames.PING, MARK))
        read = False
        while (got := await socket.read()) is not None:
            if got.opcode == frames.CLOSE:
                self.ended = str(got.code)
                if got.code == INTERNAL:
                    raise Found(f"closed with 1011: {got.payload[2:]!r}")
                return False
            if got.opcode == frames.TEXT:
                self._heed(json.loads(got.payload))
            read = read or got == Frame(frames.PONG, MARK)
            if read and not self._verdicts_due:
                return True
        self.ended = "cut"
        return False

    def _heed(self, message: Any) -> None:
        if message["type"] == "tasks":
            self._attempts += [(one["taskId"], one["attempt"]) for one in message["tasks"]]
        elif message["type"] == "verdicts":
            self._verdicts_due -= 1

    # -- what is said -------------------------------------------------------------------------

    def _text(self) -> bytes:
        """A message: one that belongs here, more often with a change."""
        chance = self._chance
        right = chance.choice(self._messages())
        if chance.random() < 0.4:
            return json.dumps(right).encode()
        text = json.dumps(mutated(right, chance, self._messages())).encode()
        return text if chance.random() < 0.6 else damaged(text, chance)

    def _hello(self) -> Tree:
        holding = self._attempts if self._chance.random() < 0.3 else []
        who = {"instanceId": self._instance, "maxInFlight": 4, "holding": holding}
        return {"type": "hello", **who}

    def _messages(self) -> list[Tree]:
        newest = self._attempts[-1]
        task, attempt = self._chance.choice(
            [newest, newest, *self._attempts, self._neighbour.present]
        )
        of = {"taskId": task, "attempt": attempt}
        done = {**of, "outcome": "completed", "output": {"by": self._instance}}
        failed = {**of, "outcome": "failed", "error": {"class": "x", "message": "y"}}
        released = {**of, "outcome": "released"}
        return [
            self._hello(),
            {"type": "ready", "maxInFlight": self._chance.randrange(9)},
            {"type": "heartbeat", "attempts": [[task, attempt], ["tsk_none", 1]]},
            {"type": "progress", **of, "fraction": 0.5, "message": "half"},
            {"type": "log", **of, "level": "info", "message": "told", "fields": {"a": 1}},
            {"type": "settle", "ref": 6, "settlements": [done]},
            {"type": "settle", "ref": 7, "settlements": [failed]},
            {"type": "settle", "ref": 8, "settlements": [failed, released, done]},
            {"type": "settle", "settlements": [done, failed]},
            {"type": "settle", "ref": 9, "settlements": []},
            {"type": "drain"},
        ]

    # -- how it is sent -----------------------------------------------------------------------

    def _framed(self, message: bytes) -> bytes:
        """The message in frames, or something else in its place."""
        chance = self._chance
        way = chance.random()
        if way < 0.7:
            self._remember(message)
            return frame(chance.choice([frames.TEXT, frames.TEXT, frames.BINARY]), message)
        if way < 0.85:
            self._remember(message)
            return fragmented(frames.TEXT, message, chance)
        if way < 0.86:
            return frame(frames.TEXT, b"[" * HUGE)
        if way < 0.89:
            self._unfinished = True  # the server waits for the rest
            return frame(frames.TEXT, message, length=len(message) + 1)
        return self._broken(message)

    def _broken(self, message: bytes) -> bytes:
        """Frames that break the protocol itself."""
        chance = self._chance
        if chance.random() < 0.1:
            self._unfinished = True  # it may promise more than it has
            return chance.randbytes(chance.randrange(1, 400))
        broken: list[bytes] = [
            frame(frames.CONTINUATION, message),
            frame(frames.TEXT, message, reserved=chance.randrange(1, 8)),
            frame(frames.TEXT, message, masked=False),
            frame(chance.choice([3, 7, 11, 15]), message),
            frame(frames.TEXT, message, fin=False) + frame(frames.TEXT, message),
            frame(frames.PING, b"x" * 200),
            frame(frames.PING, b"x", fin=False),
            frame(frames.CLOSE, b"\x00"),
            frame(frames.CLOSE, chance.randbytes(2) + message[:50]),
            frame(frames.TEXT, b'{"type": "hello", "instanceId": "\xff\xed\xa0\x80"}'),
            frame(frames.TEXT, message, length=2**63 + 1),
        ]
        return chance.choice(broken)

    def _remember(self, message: bytes) -> None:
        """What the server may record: the settlements in a message of the right form."""
        try:
            read = _message.decode(message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        if isinstance(read, Settle):
            self._verdicts_due += 1
            self._claimed |= {(one.task_id, one.attempt, one.outcome) for one in read.settlements}

    # -- what became of it --------------------------------------------------------------------

    async def _check_record(self, task_id: str) -> None:
        task = await self._client.tasks.get(task_id)
        ended = task.status in {"completed", "failed"}
        if ended and (task_id, task.attempt, task.status) not in self._claimed:
            raise Found(f"{task_id} is {task.status}, which nobody said")

    async def _clear(self, session_id: str) -> None:
        session = await self._client.sessions.get(session_id)
        if session.status in {"waiting", "processing"}:
            await self._client.sessions.cancel(session_id)


async def run(url: str, key: str, seed: int, cases: Iterable[int], seconds: float) -> str:
    """Examine cases one after the other, for so long at most; gives a line about them.

    Raises what a case breaks, with its number.
    """
    ended: Counter[str] = Counter()
    until = time.monotonic() + seconds
    async with Client(url, key) as client:
        neighbour = Neighbour(client, key)
        agent = await client.agents.register(RegisterAgent(agent_name=NAME, capabilities=[NAME]))
        async with neighbour.working():
            for number in cases:
                case = Case(number, seed, client, neighbour)
                try:
                    await case.run(agent.agent_id, key)
                    await client.ready()
                except Exception as error:
                    error.add_note(f"case {number} of seed {seed}")
                    raise
                ended[case.ended] += 1
                if time.monotonic() > until:
                    break
    if not neighbour.done:
        raise Found("the neighbour got nothing done")
    told = f"fuzz: {ended.total()} connections, seed {seed}, the neighbour did {neighbour.done}"
    return f"{told} tasks; they ended with {dict(ended)}"
