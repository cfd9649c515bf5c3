"""One conversation over the WebSocket, from hello to the end of the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import assert_never

import aiohttp
import msgspec

from opscore.sdk.attempts import Attempts
from opscore.sdk.errors import OpsCoreProblem
from opscore.sdk.outbox import Outbox
from opscore.wire.base import Problem
from opscore.wire.stream import (
    Cancel,
    Drain,
    Draining,
    FromAgent,
    Heartbeat,
    Hello,
    Refused,
    ServerMessage,
    Settle,
    Stale,
    Tasks,
    VerdictsFor,
    Welcome,
)

logger = logging.getLogger("opscore.agent")

WELCOME_SECONDS = 30.0
_decoder: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)
_encoder = msgspec.json.Encoder()
_TEXTS = frozenset({aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY})


class Conversation:
    """Reads and writes one open WebSocket; `talk` returns or raises when it has ended."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        attempts: Attempts,
        outbox: Outbox,
    ) -> None:
        self._socket = socket
        self._attempts = attempts
        self._outbox = outbox
        self._reference = 0
        self._said_drain = False

    async def talk(self, hello: Hello, welcomed: Callable[[Welcome], None]) -> str:
        """Say hello, then carry tasks and settlements until the connection ends.

        `welcomed` is called once. Returns why it ended; raises `OpsCoreProblem` when the hello is
        refused.
        """
        await self._send(hello)
        welcome = await self._welcome()
        self._attempts.payload_limit = welcome.payload_limit
        self._attempts.stale(welcome.stale)
        self._attempts.resend()
        welcomed(welcome)
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(welcome.lease_seconds))
            try:
                return await self._read()
            finally:
                writer.cancel()

    async def _welcome(self) -> Welcome:
        async with asyncio.timeout(WELCOME_SECONDS):
            message = await self._receive()
        match message:
            case Welcome():
                return message
            case Refused():
                raise _problem(message.problem)
            case str():
                raise ConnectionResetError(message)
            case _:
                raise OpsCoreProblem(200, "bad_answer", f"expected welcome, got {message!r}")

    async def _read(self) -> str:
        while True:
            message = await self._receive()
            match message:
                case Tasks():
                    self._attempts.accept(message.tasks)
                case VerdictsFor():
                    self._attempts.verdicts(message.verdicts)
                case Cancel():
                    self._attempts.cancel(message.attempts, message.reason)
                case Stale():
                    self._attempts.stale(message.attempts)
                case Drain():
                    # The server sends nothing until the agent is activated again.
                    logger.info("drained by the server: %s", message.reason or "no reason given")
                case Refused():
                    # Which message it was is not said; a new hello brings both sides together.
                    logger.error("the server refused a message: %s", message.problem.detail)
                    return message.problem.detail
                case Welcome():
                    logger.warning("a second welcome was ignored")
                case str():
                    return message
                case _:
                    assert_never(message)

    async def _receive(self) -> ServerMessage | str:
        """The next message, or why there is none. What a newer server adds is passed over."""
        while (message := await self._socket.receive()).type in _TEXTS:
            try:
                return _decoder.decode(message.data)
            except msgspec.ValidationError as error:
                logger.warning("a message of the server was not understood: %s", error)
        if message.type is aiohttp.WSMsgType.CLOSE:
            return f"closed by the server: {message.data} {message.extra or ''}".rstrip()
        if message.type is aiohttp.WSMsgType.ERROR:
            return f"connection broken: {message.data}"
        return "connection lost"

    async def _write(self, quiet: float) -> None:
        """Send what there is, and a sign of life where there is nothing for `quiet` seconds.

        Heartbeats go another way, and a server drops a connection on which it hears nothing.
        """
        try:
            while True:
                try:
                    async with asyncio.timeout(quiet):
                        await self._outbox.filled()
                except TimeoutError:
                    await self._send(Heartbeat())
                await self._flush()
        except (aiohttp.ClientError, OSError) as error:
            logger.debug("cannot send: %s", error)
            await self._socket.close()

    async def _flush(self) -> None:
        if self._attempts.closing and not self._said_drain:
            self._said_drain = True
            await self._send(Draining())
        for note in self._outbox.take_notes():
            await self._send(note)
        while settlements := self._outbox.take_settlements():
            self._reference += 1
            await self._send(Settle(settlements=settlements, ref=self._reference))

    async def _send(self, message: FromAgent) -> None:
        await self._socket.send_frame(_encoder.encode(message), aiohttp.WSMsgType.TEXT)


def _problem(problem: Problem) -> OpsCoreProblem:
    return OpsCoreProblem(problem.status, problem.code, problem.detail, problem.errors)
