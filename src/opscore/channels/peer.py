"""Writing to a WebSocket whose peer may be gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


def to_peer(send: Send) -> Send:
    """`send`, where a peer that is gone is an `OSError` whichever way it went.

    uvicorn raises one when the peer left. When it closed the connection itself, for a frame that
    breaks the protocol, it raises a `RuntimeError`, as for a bug of ours.
    """

    async def told(message: MutableMapping[str, Any]) -> None:
        try:
            await send(message)
        except RuntimeError as closed:
            raise ConnectionResetError(str(closed)) from closed

    return told
