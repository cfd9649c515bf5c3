"""Routes of API keys."""

from __future__ import annotations

from typing import Any

from opscore.api.answer import NO_CONTENT, created, ok
from opscore.api.call import Call
from opscore.api.route import Reply, Routes
from opscore.channels.attempts import moment, moment_or_none
from opscore.core.access import within
from opscore.core.errors import Forbidden
from opscore.engine.keys import KeyRecord
from opscore.wire.key import CreateKey, KeyMade, KeyPage, KeyView, ListKeys, RotateKey

routes = Routes("key")


@routes.body("POST", "/key", "admin", CreateKey, {201: KeyMade})
async def create_key(call: Call, body: CreateKey) -> Reply:
    """Make a key. Its text is in this answer and never told again."""
    made = await call.engine.keys.create(
        body.name,
        body.scopes,
        agent=body.agent,
        expires_seconds=body.expires_in_seconds,
        namespace=reached(call, body.namespace or call.namespace),
        actor=call.actor,
    )
    return created(_made(made), secret=True)


@routes.query("/key", "admin", ListKeys, {200: KeyPage})
async def list_keys(call: Call, query: ListKeys) -> Reply:
    """List keys, newest first; those that let nobody in any more too."""
    reach = reached(call, query.namespace or call.principal.reach)
    page = call.engine.keys.list(reach=reach, cursor=query.cursor, limit=query.limit)
    return ok(KeyPage(keys=[_view(one) for one in page.items], next_cursor=page.next_cursor))


@routes.plain("GET", "/key/{keyId}", "admin", {200: KeyView})
async def get_key(call: Call) -> Reply:
    """Read a key."""
    return ok(_view(call.engine.keys.get(call.part("keyId"), reach=call.principal.reach)))


@routes.plain("DELETE", "/key/{keyId}", "admin", {204: None})
async def revoke_key(call: Call) -> Reply:
    """Revoke a key: it lets nobody in any more, and what was opened with it ends."""
    await call.engine.keys.revoke(call.part("keyId"), reach=call.principal.reach, actor=call.actor)
    return NO_CONTENT


@routes.body(
    "POST",
    "/key/{keyId}/rotate",
    "admin",
    RotateKey,
    {200: KeyMade},
    optional=True,
)
async def rotate_key(call: Call, body: RotateKey) -> Reply:
    """Give a key a new text; the one it had counts for `overlapSeconds` more."""
    made = await call.engine.keys.rotate(
        call.part("keyId"),
        overlap_seconds=body.overlap_seconds,
        reach=call.principal.reach,
        actor=call.actor,
    )
    return ok(_made(made), secret=True)


def reached(call: Call, namespace: str) -> str:
    """That namespace (or `*`), if the key may see it. Raises Forbidden."""
    if not within(call.principal.reach, namespace):
        raise Forbidden("This key belongs to another namespace.")
    return namespace


def _fields(record: KeyRecord) -> dict[str, Any]:
    key = record.key
    return {
        "key_id": key.key_id,
        "name": key.name,
        "namespace": key.namespace,
        "scopes": list(key.scopes),
        "state": record.state.value,
        "created_at": moment(key.created_at),
        "created_by": key.created_by,
        "agent": key.agent,
        "expires_at": moment_or_none(key.expires_at),
        "last_used_at": moment_or_none(record.last_used_at),
        "revoked_at": moment_or_none(key.revoked_at),
        "previous_until": moment_or_none(key.previous_until),
    }


def _view(record: KeyRecord) -> KeyView:
    return KeyView(**_fields(record))


def _made(record: KeyRecord) -> KeyMade:
    assert record.token is not None
    return KeyMade(**_fields(record), key=record.token)
