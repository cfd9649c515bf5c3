"""API keys. A key's text is told once, when it is made."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from opscore.wire.base import Input, Name, Output, Page
from opscore.wire.queries import PageQuery

ScopeWord = Literal[
    "agent:report", "agent:work", "session:start", "session:read", "operate", "admin"
]
KeyStateWord = Literal["live", "expired", "revoked"]
Reach = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=64, description="A namespace, or `*` for a key that may name any"
    ),
]


class CreateKey(Input):
    """`POST /key`. `agent`: the name of the only agent as which the key acts."""

    name: Name
    scopes: Annotated[list[ScopeWord], msgspec.Meta(min_length=1, max_length=6)]
    namespace: Reach | None = None
    agent: Name | None = None
    expires_in_seconds: Annotated[float, msgspec.Meta(gt=0, le=315_360_000)] | None = None


class RotateKey(Input):
    """`POST /key/{keyId}/rotate`: for how long the text that the key had still counts."""

    overlap_seconds: Annotated[float, msgspec.Meta(ge=0, le=2_592_000)] = 86_400


class ListKeys(PageQuery, kw_only=True):
    """`GET /key`; keys of every namespace are listed to those who may name any."""

    namespace: Reach | None = None


class KeyView(Output):
    """A key, without its text."""

    key_id: str
    name: str
    namespace: str
    scopes: list[ScopeWord]
    state: KeyStateWord
    created_at: str
    created_by: str
    agent: str | None = None
    expires_at: str | None = None
    last_used_at: str | None = None
    revoked_at: str | None = None
    previous_until: str | None = None


class KeyMade(KeyView, kw_only=True):
    """A key that was just made or rotated, with its text: it is not kept and not told again."""

    key: str


class KeyPage(Page):
    """Keys, newest first."""

    keys: list[KeyView] = []
