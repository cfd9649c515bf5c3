"""The contract with AgentKit, sentence by sentence: reports, notices, triggers."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from opscore.api.settings import ServerSettings
from opscore.channels.attempts import moment
from opscore.core.types import SECOND
from opscore.engine.clock import SystemClock
from tests.api.conftest import COMPUTED, KEY, Reply, Site, serving
from tests.channels.agents import endpoint
from tests.engine.whole import until

SECRET = "the-secret-that-agentkit-signs-with"
NOTIFY = "/internal/agent/notify"
CONTENT = {"content-type": "application/json"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signed() -> AsyncGenerator[Site, None]:
    """A server that knows AgentKit's secret; the client sends no key."""
    settings = ServerSettings(api_key=KEY, webhook_secret=SECRET, stop_seconds=2)
    async with serving(settings) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dev() -> AsyncGenerator[Site, None]:
    async with serving(ServerSettings(development=True, stop_seconds=2)) as one:
        yield one


def now() -> float:
    return SystemClock().now() / SECOND


def details(agent_id: str, name: str, **more: Any) -> dict[str, Any]:
    told = {"agentId": agent_id, "agentName": name, "version": "1.0", "capabilities": ["sum"]}
    return told | {"contactEndpoint": "http://localhost:8001/run", "metadata": None} | more


def notice(event: str, agent_id: str, name: str, **more: Any) -> bytes:
    return json.dumps(
        {"event_type": event, "agent_details": details(agent_id, name, **more)}
    ).encode()


def signature(stamp: str, body: bytes, secret: str = SECRET) -> dict[str, str]:
    mac = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-AgentKit-Timestamp": stamp, "X-AgentKit-Signature": mac}


async def send(site: Site, body: bytes, stamp: str | None = None, **headers: str) -> Reply:
    signs = signature(stamp or str(int(now())), body)
    return await site.call("POST", NOTIFY, body, headers=signs | headers)


async def agent(site: Site, agent_id: str) -> Reply:
    return await site.call("GET", f"/agent/{agent_id}", headers={"Authorization": f"Bearer {KEY}"})


async def test_a_notice_registers_an_agent(signed: Site) -> None:
    body = notice("REGISTER", "k1", "adder", metadata={"team": "x"}, registrationTime="2026-01-01")
    reply = await send(signed, body)
    assert (reply.status, reply.body) == (200, {"status": "registered", "agentId": "k1"})
    found = (await agent(signed, "k1")).good
    assert (found["agentName"], found["channel"]) == ("adder", "agentkit")
    assert (found["capabilities"], found["metadata"]) == (["sum"], {"team": "x"})
    state = await signed.call("GET", "/agent/k1/state", headers={"Authorization": f"Bearer {KEY}"})
    assert (state.status, state.body["state"]) == (200, "unknown")


@pytest.mark.parametrize(
    "stamp",
    [
        lambda: str(int(now())),
        lambda: str(now() - 250),
        lambda: datetime.fromtimestamp(now(), UTC).isoformat(),
        lambda: datetime.fromtimestamp(now(), UTC).replace(tzinfo=None).isoformat() + "Z",
    ],
)
async def test_both_forms_of_timestamps(signed: Site, stamp: Any) -> None:
    assert (await send(signed, notice("REGISTER", "k2", "stamped"), stamp())).status == 200


async def refused(site: Site, body: bytes, headers: dict[str, str]) -> None:
    reply = await site.call("POST", NOTIFY, body, headers=headers)
    assert reply.status == 401
    assert isinstance(reply.body["detail"], str)
    assert (await agent(site, "bad")).status == 404


async def test_what_is_not_signed_well_is_refused(signed: Site) -> None:
    body = notice("REGISTER", "bad", "intruder")
    stamp = str(int(now()))
    good = signature(stamp, body)
    await refused(signed, body, {})
    await refused(signed, body, {"X-AgentKit-Signature": good["X-AgentKit-Signature"]})
    await refused(signed, body, {"X-AgentKit-Timestamp": stamp})
    await refused(signed, body, signature(stamp, body, "another secret"))
    await refused(signed, body, signature(stamp, body + b" "))
    await refused(signed, body, good | {"X-AgentKit-Timestamp": str(int(stamp) + 1)})
    await refused(signed, body, good | {"X-AgentKit-Signature": "é"})
    for late in (str(int(stamp) - 400), str(int(stamp) + 400), "nan", "inf", "yesterday", ""):
        await refused(signed, body, signature(late, body))
    await refused(signed, body, {"Authorization": "Bearer wrong"})


async def test_a_valid_key_stands_for_a_signature(signed: Site) -> None:
    body = notice("REGISTER", "k3", "by-hand")
    key = {"Authorization": f"Bearer {KEY}"}
    assert (await signed.call("POST", NOTIFY, body, headers=key)).status == 200
    assert (await agent(signed, "k3")).status == 200


async def test_a_duplicate_is_200_and_changes_nothing(signed: Site) -> None:
    body = notice("REGISTER", "k4", "twice")
    stamp = str(int(now()))
    for status in ("registered", "duplicate", "duplicate"):
        reply = await send(signed, body, stamp)
        assert (reply.status, reply.body["status"]) == (200, status)
    # The same content under another signature is no other registration.
    before = (await agent(signed, "k4")).good["updatedAt"]
    assert (await send(signed, body, str(int(now()) - 1))).status == 200
    assert (await agent(signed, "k4")).good["updatedAt"] == before


async def test_a_replayed_registration_does_not_bring_an_agent_back(signed: Site) -> None:
    body, stamp = notice("REGISTER", "k5", "gone"), str(int(now()))
    await send(signed, body, stamp)
    assert (await send(signed, notice("DEREGISTER", "k5", "gone"))).body["status"] == "deregistered"
    assert (await agent(signed, "k5")).status == 404
    assert (await send(signed, body, stamp)).body["status"] == "duplicate"
    assert (await agent(signed, "k5")).status == 404
    again = await send(signed, notice("DEREGISTER", "k5", "gone", version="2"))
    assert (again.status, again.body["status"]) == (200, "ignored")


async def test_after_a_restart_agentkit_gives_new_ids(signed: Site) -> None:
    await send(signed, notice("REGISTER", "old-id", "phoenix"))
    key = {"Authorization": f"Bearer {KEY}"}
    await signed.call("PATCH", "/agent/old-id", {"labels": {"room": "7"}}, headers=key)
    reply = await send(signed, notice("REGISTER", "new-id", "phoenix", version="2.0"))
    assert reply.body["agentId"] == "old-id"
    found = (await agent(signed, "new-id")).good
    assert (found["agentId"], found["version"], found["labels"]) == ("old-id", "2.0", {"room": "7"})
    # A late goodbye of the earlier life changes nothing; that of this life does.
    late = await send(signed, notice("DEREGISTER", "old-id", "phoenix"))
    assert late.body["status"] == "ignored"
    assert (await agent(signed, "old-id")).status == 200
    await send(signed, notice("DEREGISTER", "new-id", "phoenix"))
    assert (await agent(signed, "old-id")).status == 404


async def test_a_lost_notice_makes_a_provisional_agent(signed: Site) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    await send(signed, notice("REGISTER", "id-1", "lost"))
    report = {"agentId": "id-2", "state": "active", "timestamp": None, "details": None}
    assert (await signed.call("POST", "/agent/id-2/state", report, headers=key)).status == 202
    assert (await agent(signed, "id-2")).good["agentName"] == "id-2"
    # The notice for it comes after all: the two are one.
    await send(signed, notice("REGISTER", "id-2", "lost"))
    assert (await agent(signed, "id-2")).good["agentId"] == "id-1"


async def test_the_name_of_another_channels_agent_is_not_taken_over(signed: Site) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    await signed.call("POST", "/agent", {"agentName": "mine"}, headers=key)
    reply = await send(signed, notice("REGISTER", "k6", "mine"))
    assert reply.status == 409
    assert isinstance(reply.body["detail"], str)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"event_type": "REGISTER"}', notice("REGISTER", "k7", "")],
)
async def test_what_cannot_be_understood_is_400(signed: Site, body: bytes) -> None:
    reply = await send(signed, body)
    assert reply.status == 400
    assert isinstance(reply.body["detail"], str)


async def test_what_agentkit_may_add_is_tolerated(signed: Site) -> None:
    reply = await send(signed, notice("HEARTBEAT", "k8", "later"))
    assert (reply.status, reply.body) == (200, {"status": "ignored"})
    more = notice("REGISTER", "k8", "later", capabilities=None, version=None, contactEndpoint=None)
    assert (await send(signed, more)).status == 200


async def test_a_signature_reaches_the_default_namespace_only(signed: Site) -> None:
    other = {"X-OpsCore-Namespace": "other"}
    await send(signed, notice("REGISTER", "k9", "spaced"), **other)
    assert (await agent(signed, "k9")).status == 200


async def test_without_a_secret_only_development_takes_unsigned_notices(
    site: Site, dev: Site
) -> None:
    body = notice("REGISTER", "u1", "unsigned")
    assert (await dev.call("POST", NOTIFY, body)).status == 200
    assert (await dev.call("GET", "/agent/u1")).status == 200
    plain = {"Authorization": ""}
    assert (await site.call("POST", NOTIFY, body, headers=plain)).status == 401
    assert (await site.call("GET", "/agent/u1")).status == 404


# -- reports --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("initializing", "initializing"),
        ("idle", "idle"),
        ("active", "active"),
        ("error", "error"),
        ("finished", "idle"),
        ("UNKNOWN", "unknown"),
        ("meditating", "unknown"),
    ],
)
@pytest.mark.parametrize("told", [{}, None, {"errorCode": "E1", "message": "m", "n": [1]}])
async def test_every_word_is_202_and_kept(site: Site, word: str, state: str, told: Any) -> None:
    report: dict[str, Any] = {
        "agentId": f"r-{word}",
        "timestamp": "2026-04-01T12:00:00.000001+00:00",
        "state": word,
        "details": told,
        "extra": "tolerated",
    }
    reply = await site.call("POST", f"/agent/r-{word}/state", report)
    assert reply.status == 202
    assert (reply.body["state"], reply.body["reportedState"]) == (state, word)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"{}", b'{"agentId": "other", "state": "idle"}', b'{"agentId": "r1"}', b"\xff"],
)
async def test_every_error_has_a_text_as_detail(site: Site, body: bytes) -> None:
    reply = await site.call("POST", "/agent/r1/state", body)
    assert reply.status == 400
    assert isinstance(reply.body["detail"], str)


async def test_an_overtaken_report_changes_nothing(site: Site) -> None:
    for second, word in ((2, "idle"), (1, "active")):
        stamp = f"2026-04-01T12:00:0{second}.000000+00:00"
        report: dict[str, Any] = {
            "agentId": "late",
            "state": word,
            "timestamp": stamp,
            "details": {},
        }
        assert (await site.call("POST", "/agent/late/state", report)).status == 202
    assert (await site.call("GET", "/agent/late/state")).good["state"] == "idle"


# -- triggers -------------------------------------------------------------------------------

OLDER: dict[str, Any] = {
    "id": "older",
    "name": "Older",
    "version": "1",
    "tasks": [{"taskId": "t1", "name": "T1", "parameters": {"a": 1}}],
}


async def test_an_inline_definition_may_repeat_its_id(site: Site) -> None:
    agent_id = await site.agent("bound")
    versions: list[str] = []
    for parameters in ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}, {"a": 1}):
        definition: dict[str, Any] = {
            **OLDER,
            "tasks": [{**OLDER["tasks"][0], "parameters": parameters}],
        }
        body: dict[str, Any] = {
            "agentId": agent_id,
            "workflowDefinition": definition,
            "initialPayload": None,
            "context": {"who": "ada"},
        }
        reply = await site.call("POST", f"/agent/{agent_id}/workflow", body)
        assert reply.status == 202
        assert set(reply.body) == {"sessionId", "workflowId", "message"}
        session = (await site.call("GET", f"/session/{reply.body['sessionId']}")).good
        assert session["context"] == {"who": "ada"}
        versions.append(session["version"])
    one, other = versions[0], versions[2]
    assert versions == [one, one, other, other, one]
    assert one != other


async def test_the_context_comes_with_every_task(site: Site) -> None:
    agent_id = await site.agent("contextual")
    body = {"workflowDefinition": {**OLDER, "id": "ctx"}, "context": {"who": "eve"}}
    await site.call("POST", f"/agent/{agent_id}/workflow", body)
    # Its task names no capability, so it goes to the agent of the path.
    (task,) = await site.claim(agent_id, waitSeconds=5)
    assert (task["context"], task["input"]) == ({"who": "eve"}, {"a": 1})


async def test_development_has_the_sample(dev: Site, site: Site) -> None:
    found = (await dev.call("GET", "/workflow/sample_workflow_id")).good
    tasks = found["definition"]["tasks"]
    capabilities = [task["agentCapability"] for task in tasks]
    assert capabilities == ["test_capability", "another_capability"]
    assert (await site.call("GET", "/workflow/sample_workflow_id")).status == 404


async def test_a_callback_has_its_secret_and_its_state(dev: Site) -> None:
    await dev.call("POST", "/workflow", COMPUTED)
    start = {"workflow": "computed", "callback": {"url": "https://a.example/done"}}
    made = (await dev.call("POST", "/session", start)).good
    assert made["callbackSecret"].startswith("whsec_")
    read = await dev.call("GET", f"/session/{made['sessionId']}")
    assert read.good["callback"]["url"] == "https://a.example/done"
    assert b"whsec_" not in read.raw
    waited = await dev.call("POST", "/session", start, headers={"Prefer": "wait=30"})
    assert (waited.status, waited.body["callbackSecret"][:6]) == (200, "whsec_")
    agent_id = await dev.agent("calls-back")
    order = {"workflowDefinitionId": "computed", "callback": start["callback"]}
    for prefer in ({}, {"Prefer": "wait=30"}):
        told = await dev.call("POST", f"/agent/{agent_id}/workflow", order, headers=prefer)
        assert told.good["callbackSecret"].startswith("whsec_")
    many = (
        await dev.call("POST", "/session/batch", {"sessions": [start, {"workflow": "computed"}]})
    ).good
    assert list(many["callbackSecrets"]) == many["sessionIds"][:1]
    bad = await dev.call("POST", "/session", {**start, "callback": {"url": "http://10.0.0.1/"}})
    assert (bad.status, bad.body["errors"][0]["pointer"]) == (400, "/callback/url")
    plain = (await dev.call("POST", "/session", {"workflow": "computed"})).good
    assert "callbackSecret" not in plain
    assert (await dev.call("GET", f"/session/{plain['sessionId']}")).good["callback"] is None


# -- AgentKit itself ------------------------------------------------------------------------


async def test_agentkit_away_is_said_and_harms_nothing() -> None:
    async with endpoint(lambda _: web.Response(status=404)) as kit:
        settings = ServerSettings(development=True, agentkit_url=kit.url, stop_seconds=2)
        async with serving(settings) as one:
            await kit.got(1)
            sync = one.application.context.agentkit
            assert sync is not None
            await until(lambda: sync.view().reachable)
            told = (await one.call("GET", "/ready", root=True)).good["agentkit"]
            assert (told["reachable"], told["listsAgents"], told["error"]) == (True, False, None)
            await kit.close()
            await sync.refresh()
            reply = await one.call("GET", "/ready", root=True)
            told = reply.body["agentkit"]
            assert (reply.status, told["reachable"]) == (200, False)
            assert "cannot be reached" in told["error"]
            assert told["ageSeconds"] >= 0


async def test_a_version_that_lists_its_agents_is_used() -> None:
    agents = [details("l1", "listed"), {"agentId": 7}, details("l2", "")]
    async with endpoint(lambda _: web.json_response({"agents": agents})) as kit:
        settings = ServerSettings(development=True, agentkit_url=kit.url, stop_seconds=2)
        async with serving(settings) as one:
            sync = one.application.context.agentkit
            assert sync is not None
            await sync.refresh()
            assert sync.view().lists_agents
            assert kit.paths[-1] == "/agent/v1/agents"
            found = (await one.call("GET", "/agent")).good["agents"]
            assert [each["agentName"] for each in found] == ["listed"]
            agents.append(details("l3", "later"))
            asked = await one.call("POST", "/internal/agent/refresh")
            assert (asked.status, asked.body["reachable"], asked.body["listsAgents"]) == (
                200,
                True,
                True,
            )
            found = (await one.call("GET", "/agent")).good["agents"]
            assert {each["agentName"] for each in found} == {"listed", "later"}


async def test_without_an_agentkit_nothing_is_refreshed(site: Site) -> None:
    reply = await site.call("POST", "/internal/agent/refresh")
    assert (reply.status, reply.body["code"]) == (409, "no_agentkit")


async def test_what_is_known_of_an_agent_has_an_age(
    signed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registration that is told again makes it young, a report of the agent's state does not."""
    body, store = notice("REGISTER", "aged", "aged"), signed.engine.store
    key = {"Authorization": f"Bearer {KEY}"}
    await send(signed, body)

    async def told() -> str:
        return (await agent(signed, "aged")).good["registeredAt"]

    began, later = await told(), store.now() + 500 * SECOND
    with monkeypatch.context() as patch:
        patch.setattr(store, "now", lambda: later)
        report = {"agentId": "aged", "state": "idle"}
        assert (await signed.call("POST", "/agent/aged/state", report, headers=key)).status == 202
        assert await told() == began
        again = await signed.call("POST", "/internal/agent/notify", body, headers=key)
        assert (again.status, again.body["status"]) == (200, "registered")
    assert await told() == moment(later)


async def test_without_an_address_nothing_is_said(site: Site) -> None:
    assert "agentkit" not in (await site.call("GET", "/ready", root=True)).good
