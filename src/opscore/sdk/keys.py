"""API keys, for programs that give each agent one of its own."""

from __future__ import annotations

from collections.abc import Sequence

from opscore.sdk.calls import Calls, body_of, decode
from opscore.sdk.server import segment
from opscore.wire.key import CreateKey, KeyMade, KeyPage, KeyView, RotateKey, ScopeWord


class Keys:
    """`/key`. All of it needs the scope `admin`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(
        self,
        name: str,
        scopes: Sequence[ScopeWord],
        *,
        agent: str | None = None,
        namespace: str | None = None,
        expires_in_seconds: float | None = None,
    ) -> KeyMade:
        """Make a key; `key` of the answer is its text, told only now.

        `agent`: the name of the only agent as which it acts.
        """
        body = CreateKey(
            name=name,
            scopes=list(scopes),
            agent=agent,
            namespace=namespace,
            expires_in_seconds=expires_in_seconds,
        )
        return decode(await self._calls.change("POST", "/key", body), KeyMade)

    async def list(self, *, cursor: str | None = None, limit: int | None = None) -> KeyPage:
        """A page of keys, newest first."""
        return await self._calls.get("/key", KeyPage, body_of(cursor=cursor, limit=limit))

    async def get(self, key_id: str) -> KeyView:
        """One key, without its text."""
        return await self._calls.get(f"/key/{segment(key_id)}", KeyView)

    async def rotate(self, key_id: str, *, overlap_seconds: float = 86_400) -> KeyMade:
        """Give it a new text; the one it had counts for `overlap_seconds` more."""
        body = RotateKey(overlap_seconds=overlap_seconds)
        path = f"/key/{segment(key_id)}/rotate"
        return decode(await self._calls.change("POST", path, body), KeyMade)

    async def revoke(self, key_id: str) -> None:
        """Let nobody in with it any more."""
        await self._calls.change("DELETE", f"/key/{segment(key_id)}")
