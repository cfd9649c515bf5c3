"""What a route gives back: a status and encoded bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

JSON = b"application/json"
_encode = msgspec.json.Encoder().encode
_json_header = (b"content-type", JSON)


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete response."""

    status: int
    body: bytes = b""
    media_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(self, send: Send) -> None:
        """Write the response in two ASGI messages."""
        headers = [(b"content-length", b"%d" % len(self.body)), *self.headers]
        if self.status != 204:
            same = self.media_type is JSON
            headers.append(_json_header if same else (b"content-type", self.media_type))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def ok(value: msgspec.Struct, *headers: tuple[bytes, bytes]) -> Answer:
    """200 with a JSON document."""
    return Answer(200, _encode(value), headers=headers)


def created(value: msgspec.Struct) -> Answer:
    """201 with a JSON document."""
    return Answer(201, _encode(value))


def accepted(value: msgspec.Struct, *headers: tuple[bytes, bytes]) -> Answer:
    """202 with a JSON document."""
    return Answer(202, _encode(value), headers=headers)


NO_CONTENT = Answer(204)
