"""Keys over HTTP: what each may do, and how it comes and goes."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.engine.engine import Engine
from tests.api.conftest import KEY, Reply, Site


def shown(key: str, **more: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {key}", **more}}


async def made(site: Site, *scopes: str, **fields: Any) -> dict[str, Any]:
    body = {"name": "test", "scopes": list(scopes), **fields}
    reply = await site.call("POST", "/key", body)
    assert reply.status == 201, reply.raw
    return reply.body


async def test_a_key_is_made_used_and_revoked(site: Site) -> None:
    key = await made(site, "session:read", "session:start")
    assert key["key"].startswith(f"opc_{key['keyId'].removeprefix('key_')}_")
    assert (await site.call("GET", "/session", **shown(key["key"]))).status == 200
    seen = (await site.call("GET", f"/key/{key['keyId']}")).good
    assert seen["state"] == "live" and seen["lastUsedAt"] and "key" not in seen
    assert seen["scopes"] == ["session:start", "session:read"]
    assert (await site.call("DELETE", f"/key/{key['keyId']}")).status == 204
    refused = await site.call("GET", "/session", **shown(key["key"]))
    assert (refused.status, refused.body["code"]) == (401, "unauthenticated")
    assert (await site.call("DELETE", f"/key/{key['keyId']}")).status == 204
    assert (await site.call("GET", f"/key/{key['keyId']}")).good["state"] == "revoked"


async def test_a_key_without_the_right_is_told_which_one_it_lacks(site: Site) -> None:
    key = await made(site, "session:read")
    refused = await site.call("POST", "/task", {"capability": "x"}, **shown(key["key"]))
    assert (refused.status, refused.body["code"]) == (403, "forbidden")
    assert "session:start" in refused.body["detail"]
    assert (await site.call("GET", "/key", **shown(key["key"]))).status == 403


async def test_rotation_leaves_the_old_text_its_time(site: Site) -> None:
    key = await made(site, "session:read")
    path = f"/key/{key['keyId']}/rotate"
    second = (await site.call("POST", path, {"overlapSeconds": 600})).good
    assert second["previousUntil"] is not None and second["keyId"] == key["keyId"]
    third = (await site.call("POST", path)).good

    async def status(one: dict[str, Any]) -> int:
        return (await site.call("GET", "/session", **shown(one["key"]))).status

    assert [await status(one) for one in (key, second, third)] == [401, 200, 200]
    last = (await site.call("POST", path, {"overlapSeconds": 0})).good
    assert [await status(one) for one in (third, last)] == [401, 200]
    assert last["previousUntil"] is None


async def test_a_key_counts_in_its_namespace_only(site: Site) -> None:
    key = await made(site, "admin", namespace="tenant-k")
    other = {"X-OpsCore-Namespace": "default"}
    own = (await site.call("POST", "/task", {"capability": "x"}, **shown(key["key"]))).good
    here = await site.call("GET", "/session", headers={"X-OpsCore-Namespace": "tenant-k"})
    assert [one["sessionId"] for one in here.good["sessions"]] == [own["sessionId"]]
    refused = await site.call("GET", "/session", **shown(key["key"], **other))
    assert (refused.status, refused.body["code"]) == (403, "forbidden")


async def test_an_admin_of_a_namespace_makes_keys_for_it_alone(site: Site) -> None:
    key = (await made(site, "admin", namespace="tenant-l"))["key"]
    body = {"name": "x", "scopes": ["admin"]}
    mine = (await site.call("POST", "/key", body, **shown(key))).good
    assert mine["namespace"] == "tenant-l"
    for namespace in ("*", "default"):
        refused = await site.call("POST", "/key", {**body, "namespace": namespace}, **shown(key))
        assert refused.status == 403
        assert (await site.call("GET", f"/key?namespace={namespace}", **shown(key))).status == 403
    listed = (await site.call("GET", "/key", **shown(key))).good["keys"]
    assert {one["namespace"] for one in listed} == {"tenant-l"} and len(listed) == 2
    everywhere = (await site.call("GET", "/key?limit=500")).good["keys"]
    assert {"*", "tenant-l"} <= {one["namespace"] for one in everywhere}
    named = (await site.call("GET", "/key?namespace=tenant-l")).good["keys"]
    assert {one["namespace"] for one in named} == {"tenant-l"}


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"name": "x", "scopes": []}, 400, "/scopes"),
        ({"name": "x", "scopes": ["root"]}, 400, "/scopes/0"),
        ({"name": "x", "scopes": ["admin"], "namespace": "No!"}, 400, "/namespace"),
        ({"name": "x", "scopes": ["operate"], "agent": "a"}, 422, "/scopes"),
        ({"name": "x", "scopes": ["agent:work"], "agent": "a", "namespace": "*"}, 422, "/agent"),
        ({"name": "x", "scopes": ["admin"], "expiresInSeconds": -1}, 400, "/expiresInSeconds"),
        ({"name": "x", "scopes": ["admin"], "key": "mine"}, 400, ""),
    ],
)
async def test_what_cannot_be_a_key(site: Site, body: Any, status: int, pointer: str) -> None:
    before = (await site.call("GET", "/key?limit=500")).good["keys"]
    refused = await site.call("POST", "/key", body)
    assert refused.status == status, refused.raw
    assert refused.body["errors"][0]["pointer"].startswith(pointer)
    after = (await site.call("GET", "/key?limit=500")).good["keys"]
    assert [one["keyId"] for one in after] == [one["keyId"] for one in before]


async def test_an_unknown_key_is_404(site: Site) -> None:
    replies: list[Reply] = [
        await site.call("GET", "/key/key_none"),
        await site.call("DELETE", "/key/key_none"),
        await site.call("POST", "/key/key_none/rotate"),
    ]
    assert [reply.status for reply in replies] == [404] * 3


async def test_the_journal_names_the_key(site: Site) -> None:
    key = await made(site, "session:start")
    body = {"workflow": "computed"}
    started = (await site.call("POST", "/session", body, **shown(key["key"]))).good
    history = (await site.call("GET", f"/session/{started['sessionId']}/history")).good
    assert f"operator:{key['keyId']}" in str(history["events"][0])


async def test_the_operators_text_is_known_by_its_hash(site: Site) -> None:
    engine: Engine = site.engine
    rows = await engine.store.keys()
    assert rows and not [row for row in rows if KEY.encode() in row.data]


async def test_two_keys_at_once_are_none(site: Site) -> None:
    headers = [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")]
    async with site.http.get(f"{site.url}/v1/opscore/session", headers=headers) as reply:
        assert reply.status == 401


async def test_a_key_is_told_once_also_to_a_request_that_comes_again(site: Site) -> None:
    again = {"headers": {"Idempotency-Key": "make-a-key-once"}}
    body = {"name": "once", "scopes": ["session:read"]}
    first = (await site.call("POST", "/key", body, **again)).good
    second = await site.call("POST", "/key", body, **again)
    assert (second.status, second.body["code"]) == (409, "told_once")
    assert first["keyId"] in second.body["detail"] and first["key"] not in second.raw.decode()
    listed = (await site.call("GET", "/key?limit=500")).good["keys"]
    assert [one["keyId"] for one in listed if one["name"] == "once"] == [first["keyId"]]
    assert (await site.call("GET", "/session", **shown(first["key"]))).status == 200
    rotate = f"/key/{first['keyId']}/rotate"
    turned = (await site.call("POST", rotate, {"overlapSeconds": 0}, **again)).good
    assert (await site.call("POST", rotate, {"overlapSeconds": 0}, **again)).status == 409
    assert (await site.call("GET", "/session", **shown(turned["key"]))).status == 200
