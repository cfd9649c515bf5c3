"""Keys through the real write path: made once, known by a hash, gone when revoked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from opscore.core.errors import Conflict, Impossible, Invalid, NotFound
from opscore.core.keys import KeyState
from opscore.core.types import Actor
from opscore.engine.key_ring import KeyRing
from opscore.engine.keys import Keys
from tests.engine.whole import HandClock, until, whole

TEXT = "a text of the operator's own, long enough"


async def test_a_key_lets_in_from_the_moment_it_is_told() -> None:
    async with whole() as house:
        keys = house.engine.keys
        made = await keys.create("ci", ["session:start"], namespace="acme", actor=Actor("x", "y"))
        assert made.token is not None
        name, key_id, secret = made.token.split("_")
        assert (name, f"key_{key_id}") == ("opc", made.key.key_id) and len(secret) == 64
        identity = keys.verify(made.token.encode())
        assert identity is not None
        assert (identity.namespace, identity.permissions) == ("acme", {"session:start"})
        assert made.key.created_by == "x:y"
        assert keys.get(made.key.key_id).token is None


async def test_no_other_text_lets_in() -> None:
    async with whole() as house:
        keys = house.engine.keys
        token = (await keys.create("ci", ["admin"])).token or ""
        digest = keys.list().items[0].key.digest
        near = [token + "x", token[:-1], token.upper(), f" {token}", token + chr(0), "", digest]
        assert [text for text in near if keys.verify(text.encode())] == []


async def test_only_the_hash_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    async with whole(f"sqlite:///{path}") as house:
        made = await house.engine.keys.create("ci", ["admin"])
        again = await house.engine.keys.rotate(made.key.key_id)
        secrets = [(one.token or "").split("_")[2].encode() for one in (made, again)]
        files = [path, Path(f"{path}-wal")]
        found = b"".join(file.read_bytes() for file in files)
    assert made.key.key_id.encode() in found
    assert not [secret for secret in secrets if secret in found]


async def test_keys_outlive_the_server(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path / 'ops.db'}", HandClock()
    async with whole(url, clock=clock) as house:
        keys = house.engine.keys
        made = [(await keys.create(name, ["admin"])) for name in ("kept", "gone", "turned")]
        await keys.revoke(made[1].key.key_id)
        turned = await keys.rotate(made[2].key.key_id, overlap_seconds=60)
        assert keys.verify((made[0].token or "").encode())
        used_at = clock.now()
    clock.move(30)
    async with whole(url, clock=clock) as house:
        keys = house.engine.keys
        known = [keys.verify((one.token or "").encode()) is not None for one in (*made, turned)]
        assert known == [True, False, True, True]
        clock.move(31)
        assert keys.verify((made[2].token or "").encode()) is None
        states = {one.key.name: one.state for one in keys.list().items}
        assert states == {
            "kept": KeyState.LIVE,
            "gone": KeyState.REVOKED,
            "turned": KeyState.LIVE,
        }
        assert keys.get(made[1].key.key_id).last_used_at is None
    assert used_at < clock.now()


async def test_uses_are_written_late_and_at_the_end(tmp_path: Path) -> None:
    path, clock = tmp_path / "ops.db", HandClock()

    def written() -> list[object]:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return [row[0] for row in connection.execute("select last_used_at from keys")]
        finally:
            connection.close()

    async with whole(f"sqlite:///{path}", clock=clock) as house:
        keys = house.engine.keys
        made = await keys.create("ci", ["admin"])
        token = (made.token or "").encode()
        keys.verify(token)
        first = clock.now()
        assert written() == [None]
        assert keys.get(made.key.key_id).last_used_at == first
        await house.pass_by(61)
        await until(lambda: written() == [first])
        keys.verify(token)
        last = clock.now()
    assert written() == [last]


async def test_a_revoked_key_lets_nobody_in_once_that_is_answered() -> None:
    async with whole() as house:
        keys = house.engine.keys
        made = await keys.create("ci", ["admin"])
        assert keys.ring.lives(made.key.key_id)
        assert (await keys.revoke(made.key.key_id)).state is KeyState.REVOKED
        assert keys.verify((made.token or "").encode()) is None
        assert not keys.ring.lives(made.key.key_id)
        with pytest.raises(Conflict):
            await keys.rotate(made.key.key_id)


async def test_keys_expire() -> None:
    async with whole() as house:
        keys = house.engine.keys
        made = await keys.create("ci", ["admin"], expires_seconds=10)
        house.clock.move(9.9)
        assert keys.verify((made.token or "").encode())
        house.clock.move(0.1)
        assert keys.verify((made.token or "").encode()) is None
        assert keys.get(made.key.key_id).state is KeyState.EXPIRED


async def test_changes_of_one_moment_see_each_other() -> None:
    async with whole() as house:
        keys = house.engine.keys
        made = await keys.create("ci", ["admin"])
        key_id = made.key.key_id
        results = await asyncio.gather(
            keys.rotate(key_id), keys.revoke(key_id), keys.rotate(key_id), return_exceptions=True
        )
        assert isinstance(results[2], Conflict)
        assert keys.get(key_id).state is KeyState.REVOKED
        assert not isinstance(results[0], BaseException)
        assert keys.verify((results[0].token or "").encode()) is None


async def test_what_lies_beyond_a_reach_is_not_there() -> None:
    async with whole() as house:
        keys = house.engine.keys
        theirs = await keys.create("theirs", ["admin"], namespace="b")
        root = await keys.create("root", ["admin"], namespace="*")
        for one in (theirs, root):
            key_id = one.key.key_id
            with pytest.raises(NotFound):
                keys.get(key_id, reach="a")
            with pytest.raises(NotFound):
                await keys.revoke(key_id, reach="a")
            with pytest.raises(NotFound):
                await keys.rotate(key_id, reach="a")
            assert keys.verify((one.token or "").encode())
        assert keys.list(reach="a").items == []
        assert [one.key.name for one in keys.list(reach="b").items] == ["theirs"]


async def test_lists_are_paged_newest_first() -> None:
    async with whole() as house:
        keys = house.engine.keys
        for name in "abc":
            await keys.create(name, ["admin"])
        first = keys.list(limit=2)
        rest = keys.list(limit=2, cursor=first.next_cursor)
        names = [[one.key.name for one in page.items] for page in (first, rest)]
        assert (names, rest.next_cursor) == ([["c", "b"], ["a"]], None)


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"scopes": []}, Invalid),
        ({"scopes": ["root"]}, Invalid),
        ({"namespace": "No Such"}, Invalid),
        ({"expires_seconds": -1}, Invalid),
        ({"expires_seconds": 1e12}, Invalid),
        ({"agent": "a", "namespace": "*"}, Impossible),
        ({"agent": "a", "scopes": ["agent:work", "operate"]}, Impossible),
        ({"agent": "a", "scopes": ["admin"]}, Impossible),
    ],
)
async def test_what_cannot_be_a_key(given: dict[str, object], refusal: type[Exception]) -> None:
    async with whole() as house:
        wanted = {"scopes": ["agent:work"], **given}
        with pytest.raises(refusal):
            await house.engine.keys.create("x", **wanted)  # type: ignore[arg-type]
        assert house.engine.keys.list().items == []


async def test_the_first_key_is_made_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ops.db'}"
    async with whole(url) as house:
        token = await house.engine.keys.first()
        assert token is not None and house.engine.keys.verify(token.encode())
        assert await house.engine.keys.first() is None
    async with whole(url) as house:
        assert await house.engine.keys.first() is None
        [only] = house.engine.keys.list().items
        await house.engine.keys.revoke(only.key.key_id)
        assert await house.engine.keys.first() is not None


async def identities(keys: Keys, *texts: str) -> list[bool]:
    return [keys.verify(text.encode()) is not None for text in texts]


async def test_the_operators_own_text_is_a_key_until_another_is_set(tmp_path: Path) -> None:
    url, other = f"sqlite:///{tmp_path / 'ops.db'}", TEXT[::-1]
    async with whole(url) as house:
        await house.engine.keys.adopt(TEXT)
        assert await house.engine.keys.first() is None
    async with whole(url) as house:
        keys = house.engine.keys
        await keys.adopt(TEXT)
        assert len(keys.list().items) == 1
        await keys.adopt(other)
        assert await identities(keys, TEXT, other) == [False, True]


async def test_a_revocation_outlives_the_operators_text() -> None:
    async with whole() as house:
        keys = house.engine.keys
        first = await keys.adopt(TEXT)
        await keys.revoke(first.key.key_id)
        assert (await keys.adopt(TEXT)).state is KeyState.REVOKED
        assert await identities(keys, TEXT) == [False]


async def test_the_operators_own_text_is_not_rotated() -> None:
    async with whole() as house:
        first = await house.engine.keys.adopt(TEXT)
        with pytest.raises(Conflict, match="OPSCORE_API_KEY"):
            await house.engine.keys.rotate(first.key.key_id)
        assert await identities(house.engine.keys, TEXT) == [True]


async def test_whoever_reads_the_keys_again_knows_what_another_revoked() -> None:
    """As on a store that replicas share: each reads the table again once a second."""
    async with whole() as house:
        ours, store = house.engine.keys, house.engine.store
        made = await ours.create("shared", ["operate"])
        token = (made.token or "").encode()
        ring = KeyRing(store.now)
        ring.load(await store.keys())
        assert ring.verify(token) is not None and ring.lives(made.key.key_id)
        await ours.revoke(made.key.key_id)
        ring.load(await store.keys())
        assert ring.verify(token) is None and not ring.lives(made.key.key_id)
