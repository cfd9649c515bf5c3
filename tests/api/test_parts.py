"""A part that is broken is named by `GET /ready`, asks to come again, and stops nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from opscore.api.settings import ServerSettings
from opscore.core.template import RetryPolicy
from opscore.engine import exporting
from opscore.engine import logs as logs_module
from opscore.outgoing.addresses import LOOPBACK, Rules
from opscore.telemetry.otlp.target import Target
from tests.api.conftest import COMPUTED, KEY, Site, serving
from tests.channels.agents import Heard, Said, endpoint
from tests.engine.whole import until

SETTINGS = ServerSettings(api_key=KEY, stop_seconds=2)
HEADERS = {"Authorization": f"Bearer {KEY}"}
SHIPPED = {"records": [{"message": "x"}]}
OF_LOGS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/opscore/log", None),
    ("GET", "/v1/opscore/log/stream", None),
    ("POST", "/v1/opscore/log", SHIPPED),
    ("POST", "/v1/opscore/log/gc", {"dryRun": True}),
    ("POST", "/v1/traces", {"resourceSpans": []}),
    ("POST", "/v1/logs", {"resourceLogs": []}),
]


async def ready(site: Site) -> dict[str, Any]:
    reply = await site.call("GET", "/ready", root=True)
    assert reply.status == 200, reply.raw
    assert reply.body["ready"] is True
    return reply.body


async def becomes(site: Site, part: str, **wanted: Any) -> dict[str, Any]:
    """The part's state, once it is so; the test's own timeout bounds it."""
    while True:
        found = (await ready(site))[part]
        if all(found[name] == value for name, value in wanted.items()):
            return found


async def runs(site: Site, **more: Any) -> str:
    """The engine goes on."""
    body = {"workflow": "computed", **more}
    session = (await site.call("POST", "/session", body, headers={"Prefer": "wait=20"})).good
    assert session["status"] == "completed"
    return session["sessionId"]


async def test_a_damaged_log_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "RETRY_SECONDS", 0.01)
    damaged = tmp_path / "ops-logs.db"
    damaged.write_bytes(b"this is no database" * 999)
    database = f"sqlite:///{tmp_path}/ops.db"
    async with serving(SETTINGS, headers=HEADERS, database=database) as site:
        await site.call("POST", "/workflow", COMPUTED)
        while (told := (await ready(site))["logs"])["problem"] is None:
            pass
        assert "move it away" in told["problem"]
        session = await runs(site)
        for method, path, body in OF_LOGS:
            reply = await site.call(method, path, body, root=True)
            assert (reply.status, reply.headers["Retry-After"]) == (503, "5"), path
            if path.startswith("/v1/opscore"):
                assert reply.headers["content-type"] == "application/problem+json"
                assert reply.body["code"] == "logs_unavailable"
        trace = (await site.call("GET", f"/session/{session}/trace")).good
        assert trace["spans"] and "cannot be used" in trace["problem"]
        damaged.rename(tmp_path / "away")
        await becomes(site, "logs", problem=None)
        for method, path, body in OF_LOGS:
            if not path.endswith("/stream"):
                assert (await site.call(method, path, body, root=True)).status < 300, path
        trace = (await site.call("GET", f"/session/{session}/trace")).good
        assert "problem" not in trace


async def test_a_collector_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "GATHER_SECONDS", 0.0)
    soon = RetryPolicy(initial_delay=1_000, max_delay=1_000)
    monkeypatch.setattr(exporting, "POLICY", soon)
    status = [503]

    def answer(_: Heard) -> Said:
        return web.Response(status=status[0])

    async with endpoint(answer) as there:
        target = Target(there.url, {"authorization": "Bearer canary"})
        async with serving(SETTINGS, headers=HEADERS, export=target) as site:
            await site.call("POST", "/workflow", COMPUTED)
            await runs(site)
            told = await becomes(site, "export", problem="the collector answered 503")
            assert (told["endpoint"], told["dropped"]) == (there.url, 0)
            await runs(site)
            assert b"canary" not in (await site.call("GET", "/ready", root=True)).raw
            status[0] = 200
            await becomes(site, "export", problem=None, waiting=0)
            wanted = b"opscore_exported_spans_total 4.0"  # two sessions of one step
            while wanted not in (await site.call("GET", "/metrics", root=True)).raw:
                pass


async def test_a_receiver_of_callbacks_that_is_down() -> None:
    def answer(_: Heard) -> Said:
        return web.Response(status=500)

    rules = Rules(LOOPBACK)
    async with (
        endpoint(answer) as there,
        serving(SETTINGS, headers=HEADERS, rules=rules) as site,
    ):
        await site.call("POST", "/workflow", COMPUTED)
        assert (await ready(site))["callbacks"] == {"problem": None, "waiting": 0}
        await runs(site, callback={"url": there.url})
        told = await becomes(site, "callbacks", waiting=1)
        while told["problem"] is None:
            told = (await ready(site))["callbacks"]
        assert told["problem"] == "1 receivers gave no good answer; they are tried again"
        assert there.url not in str(await ready(site))
        await runs(site)


async def test_a_hook_that_raises() -> None:
    broken = [True]

    def hook(_: Any) -> None:
        if broken[0]:
            raise LookupError("not told to strangers")

    async with serving(SETTINGS, headers=HEADERS) as site:
        await site.call("POST", "/workflow", COMPUTED)
        site.engine.hooks.on("session.completed", hook)
        await runs(site)
        told = (await ready(site))["hooks"]
        assert told["problem"].endswith("hook: LookupError") and told["waiting"] == 0
        broken[0] = False
        await runs(site)
        await until(lambda: site.engine.hooks.state.problem is None)
        assert (await ready(site))["hooks"] == {"problem": None, "waiting": 0}
