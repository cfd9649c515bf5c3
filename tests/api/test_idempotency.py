"""`Idempotency-Key` over HTTP: the accepted answer again, 409, 422, and nothing done twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opscore.api.nouns import NOUNS
from opscore.store.rows import RequestName
from tests.api.conftest import BASE, Reply, Site

ROOT = "OPSCORE_API_KEY"
START = {"workflow": "one-step", "input": {"x": 1}}


async def keyed(site: Site, method: str, path: str, body: Any, key: str, **more: str) -> Reply:
    return await site.call(method, path, body, headers={"Idempotency-Key": key, **more})


async def sessions(site: Site) -> int:
    return len((await site.call("GET", "/session?limit=500")).good["sessions"])


async def test_the_same_request_gets_the_same_answer_and_is_done_once(site: Site) -> None:
    first = await keyed(site, "POST", "/session", START, "once-1")
    count = await sessions(site)
    again = await keyed(site, "POST", "/session", START, "once-1")
    assert (again.status, again.raw) == (202, first.raw) and first.status == 202
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert await sessions(site) == count
    other = await keyed(site, "POST", "/session", START, "once-2")
    assert other.good["sessionId"] != first.good["sessionId"]


async def test_another_body_or_path_under_the_same_key_is_refused(site: Site) -> None:
    sent = await keyed(site, "POST", "/session", START, "reused")
    reply = await keyed(site, "POST", "/session", START | {"priority": 3}, "reused")
    assert (reply.status, reply.body["code"]) == (422, "idempotency_key_reused")
    session = sent.good["sessionId"]
    assert (await keyed(site, "POST", f"/session/{session}/pause", None, "step")).status == 202
    other = (await site.call("POST", "/session", START)).good["sessionId"]
    reply = await keyed(site, "POST", f"/session/{other}/pause", None, "step")
    assert reply.status == 422
    assert (await site.call("GET", f"/session/{other}")).good["status"] != "paused"


async def test_a_key_counts_for_its_route_and_namespace_only(site: Site) -> None:
    assert (await keyed(site, "POST", "/session", START, "wide")).status == 202
    assert (await keyed(site, "POST", "/task", {"capability": "x"}, "wide")).status == 202
    elsewhere = {"X-OpsCore-Namespace": "elsewhere"}
    reply = await keyed(site, "POST", "/task", {"capability": "x"}, "wide", **elsewhere)
    assert reply.status == 202 and "Idempotency-Replayed" not in reply.headers


async def test_a_request_that_is_being_carried_out_is_not_begun_again(site: Site) -> None:
    task = {"capability": "slowly"}
    agent = await site.agent("slow-one", "slowly")
    async with asyncio.TaskGroup() as group:
        first = group.create_task(keyed(site, "POST", "/task", task, "slow", Prefer="wait=30"))
        (attempt,) = await site.claim(agent, waitSeconds=5)
        busy = await keyed(site, "POST", "/task", task, "slow")
        assert (busy.status, busy.body["code"]) == (409, "idempotency_running")
        assert busy.headers["Retry-After"] == "1"
        done = {"attempt": attempt["attempt"], "output": 1}
        await site.call("POST", f"/task/{attempt['taskId']}/complete", done)
    answer = first.result()
    assert answer.status == 200 and answer.body["status"] == "completed"
    again = await keyed(site, "POST", "/task", task, "slow", Prefer="wait=30")
    assert (again.status, again.raw) == (200, answer.raw)
    assert again.headers["Preference-Applied"] == "wait=30"


async def test_a_refusal_is_not_kept(site: Site) -> None:
    missing: dict[str, Any] = {"workflow": "comes-later", "input": {}}
    assert (await keyed(site, "POST", "/session", missing, "early")).status == 404
    late = {"name": "comes-later", "version": "1", "steps": {"a": {"value": 1}}}
    assert (await site.call("POST", "/workflow", late)).status == 201
    assert (await keyed(site, "POST", "/session", missing, "early")).status == 202


async def test_an_answer_that_was_lost_is_given_after_all(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is committed, the answer is not: as when the process dies in between."""

    async def dies(*_: object) -> None:
        raise ZeroDivisionError

    before = await sessions(site)
    session = (await site.call("POST", "/session", START)).good["sessionId"]
    with monkeypatch.context() as patch:
        patch.setattr(site.engine.repeats, "keep", dies)
        assert (await keyed(site, "POST", "/session", START, "lost")).status == 500
        assert (await keyed(site, "POST", f"/session/{session}/cancel", {}, "lost")).status == 500
        assert (await keyed(site, "DELETE", f"/session/{session}", None, "lost")).status == 500
        agent = await site.agent("leaver")
        assert (await keyed(site, "DELETE", f"/agent/{agent}", None, "lost")).status == 500
    assert (await keyed(site, "DELETE", f"/agent/{agent}", None, "lost")).status == 204
    started = await keyed(site, "POST", "/session", START, "lost")
    assert started.status == 202 and await sessions(site) == before + 1
    again = await keyed(site, "POST", "/session", START, "lost")
    assert again.raw == started.raw
    gone = await keyed(site, "DELETE", f"/session/{session}", None, "lost")
    assert gone.status == 204
    assert (await site.call("DELETE", f"/session/{session}")).status == 404
    assert (await keyed(site, "DELETE", f"/session/{session}", None, "lost")).status == 204


@pytest.mark.parametrize("key", ["", "has space", "x" * 256, "ümlaut"])
async def test_a_malformed_key_is_refused(site: Site, key: str) -> None:
    reply = await keyed(site, "POST", "/session", START, key)
    assert (reply.status, reply.body["code"]) == (400, "invalid")


async def test_every_route_that_changes_something_takes_a_key() -> None:
    free = {
        operation.path.removeprefix(BASE)
        for noun in NOUNS
        for operation in noun.operations
        if operation.method != "GET" and not operation.changes
    }
    # Spans and log records have numbers of their own, and their protocol repeats as it likes.
    assert free == {"/workflow/validate", "/v1/traces", "/v1/logs"}


async def stored(site: Site, route: str, key: str) -> bytes:
    """All that is kept of a request, as it stands in the database."""
    (root,) = [one.key.key_id for one in site.engine.keys.list().items if one.key.name == ROOT]
    name = RequestName("default", f"operator:{root}", f"POST {BASE}{route}", key)
    row = await site.engine.store.request(name)
    assert row is not None
    return bytes(row.results or b"") + (row.answer or b"")


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/session", {"workflow": "computed"}, "callbackSecret"),
        ("/session/batch", {"sessions": [{"workflow": "computed"}]}, "callbackSecrets"),
        ("/agent/{agent}/workflow", {"workflowDefinitionId": "computed"}, "callbackSecret"),
        ("/agent", {"agentName": "called-once", "channel": "http"}, "signingSecret"),
    ],
)
async def test_no_secret_is_kept_and_the_answer_is_the_same_again(
    site: Site, path: str, body: dict[str, Any], name: str
) -> None:
    callback = {"callback": {"url": "https://a.example/done"}}
    route, path = (
        path.replace("{agent}", "{agentId}"),
        path.replace("{agent}", await site.agent("triggered")),
    )
    if name == "signingSecret":
        body = {**body, "contactEndpoint": "https://a.example/run"}
    elif "sessions" in body:
        body = {"sessions": [{**body["sessions"][0], **callback}]}
    else:
        body = {**body, **callback}
    if name != "signingSecret":
        ended = await keyed(site, "POST", path, body, "waiting", Prefer="wait=5")
        assert "whsec_" in ended.raw.decode()
        assert b"whsec_" not in await stored(site, route, "waiting")
    first = await keyed(site, "POST", path, body, "secretive")
    again = await keyed(site, "POST", path, body, "secretive")
    assert "whsec_" in str(first.good[name])
    assert (again.status, again.body[name]) == (first.status, first.body[name])
    ids = [key for key in first.body if key.endswith(("Id", "Ids"))]
    assert ids and all(first.body[key] == again.body[key] for key in ids)
    assert b"whsec_" not in await stored(site, route, "secretive")
    other = await keyed(site, "POST", path, {**body, "labels": {"a": "b"}}, "secretive")
    assert other.status in {400, 422}
