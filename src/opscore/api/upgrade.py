"""Refusing a WebSocket before it is one: with a problem document, as everything is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opscore.api.answer import Send, Traced
from opscore.api.problems import answer_of
from opscore.core.errors import Refusal

POLICY_VIOLATION = 1008
_PREFIX = "websocket.http.response"


async def refuse_upgrade(
    scope: Mapping[str, Any], send: Send, refusal: Refusal, trace_id: str
) -> None:
    """Answer a handshake that is refused; a server that cannot say more answers 403."""
    if _PREFIX not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return

    async def rename(message: Any) -> None:
        message["type"] = message["type"].replace("http.response", _PREFIX)
        await send(message)

    await answer_of(refusal, trace_id).send(Traced(rename, trace_id))
