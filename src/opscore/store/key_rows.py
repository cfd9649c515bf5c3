"""Rows of keys as the store takes and gives them."""

from __future__ import annotations

from typing import NamedTuple

from opscore.core.types import Json, Micros


class KeyRow(NamedTuple):
    """An API key; `data` is the engine's record as JSON, without the key's text."""

    key_id: str
    namespace: str
    data: Json


class StoredKey(NamedTuple):
    """A key with the time of its last use, which is written apart and late."""

    data: Json
    last_used_at: Micros | None
