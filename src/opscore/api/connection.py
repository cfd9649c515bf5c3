"""HTTP connections whose request heads are bounded in size and time, and answers in one piece.

uvicorn bounds neither: a client could send header after header for ever, or hold a connection open
with half a line.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from opscore.api.answer import DIRECT

HEAD_LIMIT = 64 * 1024

_REFUSAL = (
    b"HTTP/1.1 %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%s"
)
_TOO_LARGE = (
    b'{"type":"urn:opscore:problem:head_too_large","title":"Request Header Fields Too Large",'
    b'"status":431,"detail":"The request line and headers are larger than 65536 bytes.",'
    b'"code":"head_too_large","errors":[],"traceId":null}'
)
_TOO_SLOW = (
    b'{"type":"urn:opscore:problem:head_timeout","title":"Request Timeout","status":408,'
    b'"detail":"The headers did not arrive in time.","code":"head_timeout","errors":[],'
    b'"traceId":null}'
)


class DirectCycle:
    """One request and its answer, past the messages of ASGI. See `Direct`."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def body(self) -> bytes | None:
        """The whole body when it has arrived, and the client does not wait to be asked for it."""
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected or cycle.waiting_for_100_continue:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        return body

    def answer(self, status: int, media_type: bytes, body: bytes) -> bool:
        """Write a complete answer; False when it must go the usual way."""
        cycle = self._cycle
        paused = cycle.flow.write_paused or cycle.waiting_for_100_continue
        unusual = cycle.access_log or cycle.scope["method"] == "HEAD" or not cycle.keep_alive
        if paused or unusual or cycle.disconnected or cycle.response_started:
            return False
        defaults = b"".join(b"%b: %b\r\n" % pair for pair in cycle.default_headers)
        cycle.transport.write(
            b"%bcontent-length: %d\r\ncontent-type: %b\r\n%b\r\n%b"
            % (STATUS_LINE[status], len(body), media_type, defaults, body)
        )
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True


class BoundedConnection(HttpToolsProtocol):
    """Counts what arrives of a head, and gives it a deadline."""

    head_seconds: ClassVar[float] = 30.0

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self._in_head = True
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._unwatch()
        super().on_headers_complete()
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and cycle.scope is self.scope:
            # The application's task was made just now and begins after this callback.
            cast("dict[str, Any]", cycle.scope)["extensions"] = {DIRECT: DirectCycle(cycle)}

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_LIMIT:
            self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE)
        elif self._deadline is None:
            self._watch()

    def _watch(self) -> None:
        late = (b"408 Request Timeout", _TOO_SLOW)
        self._deadline = self.loop.call_later(self.head_seconds, self._refuse, *late)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes, problem: bytes) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.write(_REFUSAL % (status, len(problem), problem))
            self.transport.close()


def connection_class(seconds: float) -> type[BoundedConnection]:
    """The protocol class for connections whose heads must arrive within `seconds`."""

    class TimedConnection(BoundedConnection):
        head_seconds = seconds

    return TimedConnection
