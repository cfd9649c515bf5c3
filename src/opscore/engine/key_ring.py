"""The keys of a store, in memory: who lets in is answered without touching the database.

Servers that share a store follow each other's commits, before they answer the next request.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from opscore.core.access import Identity
from opscore.core.keys import Key, KeyState, accepted, digest_of, identity_of, state_of
from opscore.core.types import Micros
from opscore.engine.unit import Unit
from opscore.store.key_rows import KeyRow, StoredKey

_decode = msgspec.json.Decoder(Key).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Accepted:
    """One text by which a key lets in, and until when."""

    digest: bytes
    until: Micros | None
    identity: Identity


class KeyRing:
    """All keys by id, and by the digests that let in now."""

    def __init__(self, now: Callable[[], Micros]) -> None:
        self._now = now
        self._keys: dict[str, Key] = {}
        self._accepted: dict[bytes, _Accepted] = {}
        self._used: dict[str, Micros] = {}
        self._unwritten: dict[str, Micros] = {}

    def load(self, rows: Iterable[StoredKey]) -> None:
        """Know exactly the keys that the store has."""
        self._keys, self._accepted = {}, {}
        for row in rows:
            key = _decode(row.data)
            self._keys[key.key_id] = key
            self._accept(key)
            if row.last_used_at is not None:
                self._used[key.key_id] = max(row.last_used_at, self._used.get(key.key_id, 0))

    def verify(self, token: bytes) -> Identity | None:
        """Who comes with this text; None for a text that does not let in (any more).

        The table is found by the digest: whoever measures the time that takes learns about a hash
        of what he sent, not about a secret. The digests themselves are compared in constant time.
        """
        digest = digest_of(token)
        found = self._accepted.get(digest)
        if found is None or not hmac.compare_digest(found.digest, digest):
            return None
        now = self._now()
        if found.until is not None and found.until <= now:
            return None
        key_id = found.identity.key_id
        assert key_id is not None
        self._unwritten[key_id] = now
        return found.identity

    def lives(self, key_id: str) -> bool:
        """Whether a key that let in before still does."""
        key = self._keys.get(key_id)
        return key is not None and state_of(key, self._now()) is KeyState.LIVE

    def find(self, key_id: str) -> Key | None:
        """A key by its id."""
        return self._keys.get(key_id)

    def all(self) -> list[Key]:
        """All keys, oldest first."""
        return sorted(self._keys.values(), key=lambda key: key.key_id)

    def last_used(self, key_id: str) -> Micros | None:
        """When a key let somebody in last."""
        return self._unwritten.get(key_id, self._used.get(key_id))

    def take_uses(self) -> dict[str, Micros]:
        """The uses that are not written down yet; they count as written from now on."""
        uses, self._unwritten = self._unwritten, {}
        self._used.update(uses)
        return uses

    def take_over(self, data: bytes) -> None:
        """A key's row, as another server committed it."""
        self.put(_decode(data))

    def put(self, key: Key) -> None:
        """Take over what was committed."""
        before = self._keys.get(key.key_id)
        if before is not None:
            for digest, _ in accepted(before):
                self._accepted.pop(digest, None)
        self._keys[key.key_id] = key
        self._accept(key)

    def _accept(self, key: Key) -> None:
        identity = identity_of(key)
        for digest, until in accepted(key):
            self._accepted[digest] = _Accepted(digest, until, identity)

    def batch(self, unit: Unit) -> KeyBatch:
        """The keys as this batch has them so far."""
        found: KeyBatch | None = unit.kept.get(self)
        if found is None:
            found = unit.kept[self] = KeyBatch(self, unit)
        return found


class KeyBatch:
    """One batch's view. Commands on keys wait for the commit before theirs, so this is all."""

    def __init__(self, ring: KeyRing, unit: Unit) -> None:
        self._ring = ring
        self._unit = unit
        self._staged: dict[str, Key] = {}

    def all(self) -> list[Key]:
        """All keys."""
        return list({**{key.key_id: key for key in self._ring.all()}, **self._staged}.values())

    def find(self, key_id: str) -> Key | None:
        """A key by its id."""
        return self._staged.get(key_id) or self._ring.find(key_id)

    def put(self, key: Key) -> Key:
        """Write a key down; it counts once that is durable."""
        self._staged[key.key_id] = key
        self._unit.changes.keys[key.key_id] = KeyRow(key.key_id, key.namespace, _encode(key))
        self._unit.after.append(lambda: self._ring.put(key))
        return key
