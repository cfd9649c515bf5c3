"""`Idempotency-Key`: a request that comes again gets the answer that it got, or would have got."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgspec
import structlog

from opscore.api.answer import Answer
from opscore.api.call import Call
from opscore.api.route import Operation, Reply
from opscore.core.errors import Invalid, Unavailable
from opscore.engine.repeats import CURRENT, Once

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("opscore.api")

HEADER = b"idempotency-key"
REPLAYED = (b"idempotency-replayed", b"true")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Answer).decode


async def once(
    call: Call, operation: Operation, key: str, body: bytes, run: Callable[[], Awaitable[Reply]]
) -> Reply:
    """Carry out a request, unless it was: then give its answer again.

    Only an answer of success is kept; a refusal changed nothing, so the request may come again.
    Raises `Invalid` for a malformed key, what `Repeats.begin` raises, and what `run` raises.
    """
    if not _KEY.fullmatch(key):
        raise Invalid("Idempotency-Key takes 1 to 255 printable ASCII characters without spaces.")
    repeats = call.engine.repeats
    route = f"{operation.method} {operation.path}"
    request = await repeats.begin(
        call.namespace, str(call.actor), route, key, digest=_digest(call, body)
    )
    try:
        if request.answer is not None:
            answer = _decode(request.answer)
            return replace(answer, headers=(*answer.headers, REPLAYED))
        token = CURRENT.set(request)
        try:
            reply = await run()
        finally:
            CURRENT.reset(token)
        await _keep(call, request, reply)
        return reply
    finally:
        repeats.end(request)


async def _keep(call: Call, request: Once, reply: Reply) -> None:
    if not isinstance(reply, Answer) or reply.status >= 300 or reply.secret:
        # What its commands gave is kept: the same request makes the same answer out of that.
        return
    try:
        await call.engine.repeats.keep(request, _encode(reply))
    except Unavailable as error:
        # The change is durable, with what its commands gave: enough to answer the same request.
        log.error("answer not kept", path=call.scope["path"], error=error.detail)


def _digest(call: Call, body: bytes) -> bytes:
    """What tells one request from another: the path with its parameters, `If-Match`, the body."""
    path: bytes = call.scope["path"].encode()
    parts = (path, call.scope["query_string"], call.headers.get(b"if-match", b"*"), body)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()
