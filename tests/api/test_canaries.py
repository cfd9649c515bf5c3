"""Secrets are sent in every way in which they may be sent: none is ever found where it must not be."""

from __future__ import annotations

import io
import json
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from opscore.api.settings import ServerSettings
from opscore.telemetry import logs
from tests.api.conftest import BASE, COMPUTED, KEY, Reply, Site, serving

WRONG = (400, 401, 403, 404, 409, 413, 415, 422)


class Canaries:
    """Texts that nobody can guess, each by where it was put."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}

    def new(self, where: str) -> str:
        text = self.made[where] = f"canary{secrets.token_hex(12)}"
        return text

    def learn(self, where: str, text: str) -> None:
        """A secret that the server made."""
        self.made[where] = text

    def found(self, *places: str | bytes) -> list[str]:
        """Which of them stand somewhere in these."""
        whole = b"".join(one.encode() if isinstance(one, str) else one for one in places)
        return [where for where, text in self.made.items() if text.encode() in whole]


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged, in both forms and down to the last word."""
    written = io.StringIO()
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    handlers: list[logging.Handler] = []
    for form in ("console", "json"):
        logs.configure("debug", form)
        (handler,) = root.handlers
        told = logging.StreamHandler(written)
        told.setFormatter(handler.formatter)
        handlers.append(told)
    root.handlers[:] = handlers
    yield written
    root.handlers[:] = kept
    root.setLevel(level)
    structlog.reset_defaults()


async def credentials(site: Site, canaries: Canaries) -> list[Reply]:
    """Credentials that are wrong, or stand where none are looked for."""
    new, replies = canaries.new, list[Reply]()
    for number, form in enumerate(
        ("Bearer {}", "bearer {}", "Basic {}", "{}", "Bearer  {} {}", "Token {}", "Bearer opc_1_{}")
    ):
        text = new(f"Authorization {number}")
        headers = {"Authorization": form.format(text, text)}
        replies.append(await site.call("GET", "/session", headers=headers))
    for name in ("key", "api_key", "apiKey", "token", "access_token", "authorization", "password"):
        for path in ("/session", "/nothing", "/event"):
            query = f"{path}?{name}={new(f'query {name} {path}')}"
            headers = {"Authorization": "Bearer wrong"}
            replies.append(await site.call("GET", query, headers=headers))
    for name in ("Cookie", "X-Api-Key", "Proxy-Authorization", "X-AgentKit-Signature"):
        headers = {name: new(f"header {name}"), "Authorization": "Bearer wrong"}
        replies.append(await site.call("GET", "/session", headers=headers))
    notice = {"X-AgentKit-Signature": new("signature"), "X-AgentKit-Timestamp": "1"}
    notice["Authorization"] = f"Bearer {new('notice')}"
    body = {"event_type": "REGISTER", "agent_details": {"agentId": "a", "agentName": "a"}}
    replies.append(await site.call("POST", "/internal/agent/notify", body, headers=notice))
    return replies


async def addresses(site: Site, canaries: Canaries) -> list[Reply]:
    """Users' addresses with a name and a password in them."""
    new, replies = canaries.new, list[Reply]()
    for scheme in ("https", "http"):
        url = f"{scheme}://user:{new(f'callback {scheme}')}@a.example/done"
        start = {"workflow": "computed", "callback": {"url": url}}
        replies.append(await site.call("POST", "/session", start))
        url = f"{scheme}://{new(f'endpoint {scheme}')}:x@a.example/run"
        agent = {"agentName": f"called-{scheme}", "channel": "http", "contactEndpoint": url}
        replies.append(await site.call("POST", "/agent", agent))
    return replies


async def told_once(site: Site, canaries: Canaries) -> None:
    """Secrets that the server makes and tells once."""
    for number in range(3):
        once = {"headers": {"Idempotency-Key": f"once-{number}"}}
        body = {"name": f"k{number}", "scopes": ["session:read"]}
        made = (await site.call("POST", "/key", body, **once)).good
        canaries.learn(f"key {number}", made["key"].split("_")[2])
        turned = (await site.call("POST", f"/key/{made['keyId']}/rotate", {}, **once)).good
        canaries.learn(f"rotated {number}", turned["key"].split("_")[2])
        start = {"workflow": "computed", "callback": {"url": "https://a.example/done"}}
        began = (await site.call("POST", "/session", start, **once)).good
        canaries.learn(f"callbackSecret {number}", began["callbackSecret"])
        agent = {"agentName": f"h{number}", "channel": "http"}
        agent["contactEndpoint"] = "https://a.example/run"
        registered = (await site.call("POST", "/agent", agent, **once)).good
        canaries.learn(f"signingSecret {number}", registered["signingSecret"])


async def payloads(site: Site, canaries: Canaries) -> None:
    """What people put into documents: it is given back to whoever may read, and told to nobody else."""
    new = canaries.new
    agent = {"agentName": "meta", "metadata": {"password": new("metadata")}, "labels": {}}
    await site.call("POST", "/agent", agent)
    start = {"workflow": "computed", "input": {"a": new("input")}, "context": {"c": new("context")}}
    session = (await site.call("POST", "/session", start)).good["sessionId"]
    patch = {"metadata": {"token": new("session metadata")}}
    await site.call("PATCH", f"/session/{session}", patch)
    await site.call("POST", "/task", {"capability": "none", "input": {"x": new("task input")}})
    signal = {"payload": {"token": new("signal")}}
    await site.call("POST", f"/session/{session}/signal/go", signal)
    bad = b'{"workflow": "computed", "input": {"x": "' + new("broken body").encode() + b'"'
    await site.call("POST", "/session", bad)


async def readable(site: Site) -> str:
    """What somebody with all rights can read of the server, the audit, logs and traces."""
    paths = ["/key", "/audit?limit=500", "/log?limit=500", "/trace/slowest", "/usage?by=workflow"]
    sessions = (await site.call("GET", "/session?limit=100")).good["sessions"]
    paths += [f"/session/{one['sessionId']}/trace" for one in sessions]
    found = [(await site.call("GET", path)).raw.decode() for path in paths]
    roots = ("/ready", "/openapi.json", "/health", "/metrics")
    found += [(await site.call("GET", root, root=True)).raw.decode() for root in roots]
    return "".join(found)


async def journal(site: Site) -> str:
    """Every event, as followers are told them."""
    text = ""
    async with site.http.get(f"{site.url}{BASE}/event", headers={"Last-Event-ID": "0"}) as feed:
        while text.count("session.completed") < 3 or text.count("agent.registered") < 3:
            text += (await feed.content.readline()).decode()
    return text


async def test_fifty_canaries(tmp_path: Path, logged: io.StringIO) -> None:
    path, canaries = tmp_path / "ops.db", Canaries()
    canaries.learn("OPSCORE_API_KEY", KEY)
    hidden = canaries.new("webhook secret")
    settings = ServerSettings(api_key=KEY, webhook_secret=hidden, stop_seconds=1)
    assert hidden not in repr(settings) and KEY not in repr(settings)
    shown = {"Authorization": f"Bearer {KEY}"}
    async with serving(settings, headers=shown, database=f"sqlite:///{path}") as site:
        await site.call("POST", "/workflow", COMPUTED)
        replies = [*await credentials(site, canaries), *await addresses(site, canaries)]
        assert [one.status for one in replies if one.status not in WRONG] == []
        await told_once(site, canaries)
        told = [one.raw for one in replies]
        everywhere = await readable(site) + await journal(site)
        assert canaries.found(*told, everywhere) == []
        files = [one.read_bytes() for one in tmp_path.glob("ops*db*")]
        assert len(files) > 3
        assert canaries.found(*files) == []
        await payloads(site, canaries)
        assert canaries.found(await readable(site)) == []
        audit = (await site.call("GET", "/audit?limit=500")).raw
        assert len(json.loads(audit)["records"]) > 10
    assert len(canaries.made) >= 50
    assert "canary" not in logged.getvalue() and canaries.found(logged.getvalue()) == []
    assert logged.getvalue() != ""
