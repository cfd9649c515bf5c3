"""Listeners that count who comes, for tests of what leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Line:
    """A listener that says the same to everybody. `heard` has each request's head and body."""

    port: int = 0
    connections: int = 0
    heard: list[bytes] = field(default_factory=list[bytes])
    writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/agent"


@asynccontextmanager
async def line(says: bytes | None) -> AsyncGenerator[Line]:
    """`says` None: it accepts and never answers."""
    one = Line()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one.connections += 1
        one.writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        size = 0
        for row in head.lower().split(b"\r\n"):
            if row.startswith(b"content-length:"):
                size = int(row.split(b":")[1])
        one.heard.append(head + await reader.readexactly(size))
        if says is not None:
            writer.write(says)
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        for writer in one.writers:
            writer.close()


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    rows = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(rows).encode() + body
