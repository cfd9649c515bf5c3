"""An HTTP client that costs little, so that the server is what is measured.

It knows what our server answers: keep-alive connections, and a `content-length` on every answer.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec

from opscore.core.errors import OpsCoreError

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Refused(OpsCoreError):
    """An answer that is not a success."""


class LeanConnection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, host: str, key: str) -> None:
        self._head = f" HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n".encode()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits for an answer hears of it."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        """A piece of the answer."""
        self._data += data
        end = self._data.find(_HEAD_END)
        if end < 0:
            return
        found = self._data.find(_LENGTH, 0, end)
        length = int(self._data[found + len(_LENGTH) : self._data.find(b"\r", found)])
        if len(self._data) < end + 4 + length or self._answer is None:
            return
        status, body = int(self._data[9:12]), bytes(self._data[end + 4 :])
        self._data.clear()
        if status < 300:
            self._answer.set_result(body)
        else:
            self._answer.set_exception(Refused(f"HTTP {status}: {body.decode()}"))

    async def post(self, path: str, body: bytes) -> Any:
        """Send JSON, and give what came back, decoded. Raises `Refused`, `OSError`."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(
            b"POST %b%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (path.encode(), self._head, len(body), body)
        )
        return msgspec.json.decode(await self._answer)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


async def connect(url: str, key: str) -> LeanConnection:
    """A connection to the server at `url` (`http://host:port`)."""
    address = url.removeprefix("http://")
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: LeanConnection(address, key), host, int(port)
    )
    return connection
