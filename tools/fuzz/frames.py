"""A WebSocket client that can do wrong: it sends any frame, also those that no library would.

Format: RFC 6455, section 5.2.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from dataclasses import dataclass
from random import Random

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
ANSWER_SECONDS = 30.0
_KEY = base64.b64encode(b"sixteen bytes ok").decode()


class NoAnswer(Exception):
    """The server says nothing, and has not closed the connection either."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What came: whole messages only, the server does not cut its own."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of a close frame; 1005 when it has none."""
        return struct.unpack(">H", self.payload[:2])[0] if len(self.payload) >= 2 else 1005


def frame(
    opcode: int,
    payload: bytes,
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """One frame; `length`: what its head says, whatever the payload's."""
    said = len(payload) if length is None else length
    head = bytes([(fin << 7) | (reserved << 4) | opcode])
    bit = masked << 7
    if said < 126:
        head += bytes([bit | said])
    elif said < 2**16:
        head += bytes([bit | 126]) + struct.pack(">H", said)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", said)
    # A mask of zeros is a mask, and leaves the payload readable.
    return head + (b"\0\0\0\0" if masked else b"") + payload


def fragmented(opcode: int, payload: bytes, chance: Random) -> bytes:
    """The payload in up to five frames, with a ping between them now and then."""
    cuts = sorted(chance.randrange(len(payload) + 1) for _ in range(chance.randrange(1, 5)))
    parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    sent = bytearray()
    for index, part in enumerate(parts):
        kind = opcode if index == 0 else CONTINUATION
        sent += frame(kind, part, fin=index == len(parts) - 1)
        if chance.random() < 0.2:
            sent += frame(PING, b"between")
    return bytes(sent)


class Socket:
    """One connection, after the handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int, path: str, key: str) -> Socket:
        """Connect and shake hands. Raises `ConnectionRefusedError` when the server does not."""
        reader, writer = await asyncio.open_connection(host, port)
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}:{port}",
            f"Authorization: Bearer {key}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {_KEY}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 101"):
            writer.close()
            raise ConnectionRefusedError(answer.decode("latin-1"))
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        """Write bytes; a server that has closed meanwhile is no error."""
        try:
            self._writer.write(data)
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.drain()
        except (ConnectionError, TimeoutError):
            return

    async def read(self) -> Frame | None:
        """The next frame; None when the connection is over. Raises `NoAnswer`."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                first, second = await self._reader.readexactly(2)
                size = second & 127
                if size > 125:
                    form = ">H" if size == 126 else ">Q"
                    head = await self._reader.readexactly(struct.calcsize(form))
                    size = struct.unpack(form, head)[0]
                return Frame(first & 15, await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except TimeoutError:
            raise NoAnswer from None

    def leave(self) -> None:
        """Go without a word."""
        self._writer.transport.abort()
