"""HTTP connections whose request heads are bounded in size and time, and answers in one piece.

uvicorn bounds neither: a client could send header after header for ever, or hold a connection open
with half a line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar, cast
from weakref import ref

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from opscore.api.answer import DIRECT, TRACE_HEADER
from opscore.api.problems import answer_of
from opscore.api.tracing import random_trace_id
from opscore.core.errors import Invalid, Refusal

HEAD_LIMIT = 64 * 1024

_REFUSAL = (
    b"HTTP/1.1 %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
    b"%b: %b\r\nconnection: close\r\n\r\n%b"
)


class HeadTooLarge(Refusal):
    """The request line and headers are over the limit."""

    code, status = "head_too_large", 431


class HeadTooSlow(Refusal):
    """The request line and headers did not arrive in time."""

    code, status = "head_timeout", 408


class DirectCycle:
    """One request and its answer, past the messages of ASGI. See `Direct`.

    It does not keep uvicorn's record of the request alive, whose scope it is part of: such a ring of
    references is freed by the cycle collector only, which then stops the loop for a tenth of a
    second every few thousand requests.
    """

    __slots__ = ("_alive",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._alive = ref(cycle)

    @property
    def _cycle(self) -> RequestResponseCycle:
        """The application runs in a task of the cycle's own."""
        cycle = self._alive()
        assert cycle is not None, "asked after the request's end"
        return cycle

    def body(self) -> bytes | None:
        """The whole body when it has arrived, and the client does not wait to be asked for it."""
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected or cycle.waiting_for_100_continue:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        return body

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Write a complete answer; False when it must go the usual way."""
        cycle = self._cycle
        paused = cycle.flow.write_paused or cycle.waiting_for_100_continue
        unusual = cycle.access_log or cycle.scope["method"] == "HEAD" or not cycle.keep_alive
        if paused or unusual or cycle.disconnected or cycle.response_started:
            return False
        lines = [b"%b: %b\r\n" % pair for pair in (*headers, *cycle.default_headers)]
        cycle.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], b"".join(lines), body))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True


class BoundedConnection(HttpToolsProtocol):
    """Counts what arrives of a head, and gives it a deadline.

    When there are more than `most` connections, the one that has kept us waiting for a head for
    longest makes room: whoever parks connections cannot keep others out.
    """

    head_seconds: ClassVar[float] = 30.0
    most: ClassVar[int] = 10_000
    parked: ClassVar[dict[BoundedConnection, None]] = {}

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self._in_head = True
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most and self.parked:
            oldest = next(iter(self.parked))
            oldest._unwatch()
            oldest.transport.abort()
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
            detail = f"The request line and headers are larger than {HEAD_LIMIT} bytes."
            self._refuse(HeadTooLarge(detail))
        elif self._deadline is None:
            self._watch()

    def _watch(self) -> None:
        late = HeadTooSlow("The headers did not arrive in time.")
        self._deadline = self.loop.call_later(self.head_seconds, self._refuse, late)
        self.parked[self] = None

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self.parked.pop(self, None)

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed is refused as everything else is."""
        self._refuse(Invalid(msg, code="malformed_request"))

    def _refuse(self, refusal: Refusal) -> None:
        self._unwatch()
        if self.transport.is_closing():
            return
        trace_id = random_trace_id()
        body = answer_of(refusal, trace_id).body
        status = b"%d %b" % (refusal.status, HTTPStatus(refusal.status).phrase.encode())
        told = (TRACE_HEADER, trace_id.encode(), body)
        self.transport.write(_REFUSAL % (status, len(body), *told))
        self.transport.close()


def connection_class(seconds: float, connections: int) -> type[BoundedConnection]:
    """The protocol class of one server: heads must arrive within `seconds`."""

    class TimedConnection(BoundedConnection):
        head_seconds = seconds
        most = connections
        parked: ClassVar[dict[BoundedConnection, None]] = {}

    return TimedConnection
