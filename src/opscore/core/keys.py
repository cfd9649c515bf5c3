"""API keys: what is kept of one, when it lets in, and how it changes. Pure.

A key reads `opc_<id>_<secret>`: the prefix lets scanners of leaked secrets find it, the id says
which one leaked. Only the SHA-256 of the whole text is kept. The secret has 256 bits of chance, so
a slow password hash would add nothing but time to every request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from hashlib import sha256

from opscore.core.access import EVERY_NAMESPACE, Identity, permissions_of
from opscore.core.progress import Refused
from opscore.core.record import record
from opscore.core.types import Actor, Micros

ID_PREFIX = "key_"
TOKEN_PREFIX = "opc_"  # noqa: S105 - the public part of every key


class KeyState(StrEnum):
    """Whether a key lets in."""

    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Origin(StrEnum):
    """Where a key comes from."""

    API = "api"
    FIRST = "first"
    """Made by a server that had none."""
    ENVIRONMENT = "environment"
    """The text of OPSCORE_API_KEY."""


@record
class Key:
    """What is kept of a key. `digest` is hexadecimal; `agent` is the name of the agent it is bound to.

    While a rotation lasts there are two texts: `previous` counts until `previous_until`.
    """

    key_id: str
    namespace: str
    name: str
    scopes: tuple[str, ...]
    agent: str | None
    digest: str
    created_at: Micros
    created_by: str
    expires_at: Micros | None = None
    revoked_at: Micros | None = None
    previous: str | None = None
    previous_until: Micros | None = None
    origin: Origin = Origin.API


def digest_of(token: bytes) -> bytes:
    """The only thing that is kept of a key's text."""
    return sha256(token).digest()


def token_of(key_id: str, secret: str) -> str:
    """The text of a key."""
    return f"{TOKEN_PREFIX}{key_id.removeprefix(ID_PREFIX)}_{secret}"


def state_of(key: Key, now: Micros) -> KeyState:
    """Whether a key lets in now."""
    if key.revoked_at is not None:
        return KeyState.REVOKED
    if key.expires_at is not None and key.expires_at <= now:
        return KeyState.EXPIRED
    return KeyState.LIVE


def accepted(key: Key) -> Iterator[tuple[bytes, Micros | None]]:
    """The digests by which a key lets in, each with the time until which it does."""
    if key.revoked_at is not None:
        return
    yield bytes.fromhex(key.digest), key.expires_at
    if key.previous is not None:
        ends = [each for each in (key.previous_until, key.expires_at) if each is not None]
        yield bytes.fromhex(key.previous), min(ends)


def identity_of(key: Key) -> Identity:
    """Who comes with this key."""
    actor = (
        Actor("operator", key.key_id, key.key_id)
        if key.agent is None
        else Actor("agent", key.agent, key.key_id)
    )
    return Identity(actor, key.namespace, permissions_of(key.scopes), key.agent, key.key_id)


def is_root(key: Key, now: Micros) -> bool:
    """Whether this key lets in, and may do everything everywhere."""
    everywhere = key.namespace == EVERY_NAMESPACE and "admin" in key.scopes
    return everywhere and state_of(key, now) is KeyState.LIVE


def rotated(key: Key, digest: bytes, now: Micros, overlap: Micros) -> Key | Refused:
    """The key with a new text; the text it had counts for `overlap` more.

    A text that was already on its way out counts no longer: there are never more than two.
    Refused for a key that lets nobody in, and for the environment's own.
    """
    state = state_of(key, now)
    if state is not KeyState.LIVE:
        return Refused("conflict", f"key {key.key_id} is {state}; make a new one")
    if key.origin is Origin.ENVIRONMENT:
        why = "this is the key of OPSCORE_API_KEY; change that, and start the server anew"
        return Refused("conflict", why)
    kept = (key.digest, now + overlap) if overlap > 0 else (None, None)
    return replace(key, digest=digest.hex(), previous=kept[0], previous_until=kept[1])


def revoked(key: Key, now: Micros) -> Key:
    """The key, letting nobody in. One that was revoked before stays as it is."""
    return key if key.revoked_at is not None else replace(key, revoked_at=now)
