"""Who gets in: one key, or this machine only. Nothing without a declared permission."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.routes import ASGIRoute, HTTPRoute, WebSocketRoute

from opscore.api.access import PERMISSIONS, Access, Forbidden, ThisMachine
from opscore.api.app import by_path, create_app
from opscore.api.limits import Shares
from opscore.api.route import Routes
from opscore.api.settings import ServerSettings, SettingsRefused
from opscore.engine.bindings import Bindings
from opscore.engine.registry import Registry
from tests.api.conftest import BASE, KEY, Site, serving

PUBLIC = {"/health", "/ready", "/openapi.json", "/docs", f"{BASE}/schema/{{name}}"}
OPERATIONS = [one for operations in by_path().values() for one in operations]
OTLP = ("/v1/traces", "/v1/logs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local() -> AsyncGenerator[Site, None]:
    """A server in development mode; the client sends nothing of its own."""
    async with serving(ServerSettings(development=True, stop_seconds=2)) as one:
        yield one


def get_route_handlers(route: HTTPRoute | WebSocketRoute | ASGIRoute) -> list[Any]:
    return route.route_handlers if isinstance(route, HTTPRoute) else [route.route_handler]


def filled(path: str) -> str:
    for name in ("agentId", "sessionId", "taskId", "keyId", "version"):
        path = path.replace(f"{{{name}}}", "some-id")
    return path.replace("{name}", "session.json")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
async def test_every_route_that_is_not_public_wants_the_key(site: Site, operation: Any) -> None:
    url = site.url + filled(operation.path)
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.request(operation.method, url) as reply,
    ):
        if operation.path in PUBLIC:
            assert reply.status == 200
            return
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Bearer")
        if operation.path in OTLP:
            # That protocol has its own form for errors: google.rpc.Status.
            assert "key" in (await reply.json())["message"].lower()
            return
        problem = await reply.json(content_type="application/problem+json")
        assert problem["code"] == "unauthenticated"


async def test_every_registered_route_declares_its_permissions(site: Site) -> None:
    app = create_app(site.engine, ServerSettings(api_key=KEY))
    seen = 0
    for route in app.routes:
        for handler in get_route_handlers(route):
            assert isinstance(handler, HTTPRouteHandler | WebsocketRouteHandler)
            permissions: dict[str, str] = handler.opt["permissions"]
            assert permissions
            assert set(permissions.values()) <= PERMISSIONS
            seen += len(permissions)
    assert seen == len(OPERATIONS) + 2  # and the sockets


def test_a_route_without_a_permission_cannot_be_declared() -> None:
    async def endpoint(_call: Any) -> Any:
        """Nothing."""

    with pytest.raises(ValueError, match="permission"):
        Routes("x").plain("GET", "/x", "", {200: None})(endpoint)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", KEY],
)
async def test_a_wrong_key_is_401(site: Site, header: str) -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": header}) as stranger,
        stranger.get(f"{site.url}{BASE}/session") as reply,
    ):
        assert reply.status == 401


async def test_a_wrong_key_opens_no_channel(site: Site) -> None:
    async with aiohttp.ClientSession() as stranger:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stranger.ws_connect(f"{site.url}{BASE}/agent/a/channel")
        assert refused.value.status == 401


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (ServerSettings(api_key="short"), "32"),
        (ServerSettings(development=True, host="0.0.0.0"), "loopback"),
        (ServerSettings(development=True, host="example.org"), "loopback"),
    ],
)
def test_an_open_door_is_refused(settings: ServerSettings, word: str) -> None:
    with pytest.raises(SettingsRefused, match=word):
        settings.check()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_development_listens_on_loopback(host: str) -> None:
    ServerSettings(development=True, host=host).check()


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(ServerSettings(api_key=KEY))


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 200, None),
        ({"Host": "localhost:8700"}, 200, None),
        ({"Host": "[::1]:8700"}, 200, None),
        ({"Host": "evil.example"}, 403, "host_refused"),
        ({"Host": "127.0.0.1.evil.example"}, 403, "host_refused"),
        ({"Host": "localhost@evil.example"}, 403, "host_refused"),
        ({"Origin": "http://localhost:3000"}, 200, None),
        ({"Origin": "http://127.0.0.1"}, 200, None),
        ({"Origin": "https://evil.example"}, 403, "origin_refused"),
        ({"Origin": "null"}, 403, "origin_refused"),
        ({"Origin": "http://localhost.evil.example"}, 403, "origin_refused"),
        ({"Origin": "file://localhost"}, 403, "origin_refused"),
    ],
)
async def test_development_mode_answers_this_machine_only(
    local: Site, headers: dict[str, str], status: int, code: str | None
) -> None:
    reply = await local.call("GET", "/session", headers=headers)
    assert reply.status == status
    if code is not None:
        assert reply.body["code"] == code


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
async def test_development_mode_opens_no_channel_to_other_origins(
    local: Site, headers: dict[str, str]
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await local.http.ws_connect(f"{local.url}{BASE}/agent/a/channel", headers=headers)
    assert refused.value.status == 403


def test_development_mode_refuses_other_machines() -> None:
    guard = Access(ThisMachine(), Bindings(Registry()), Shares(lambda: 0, 1, 1))
    scope = {"client": ("192.0.2.7", 1), "headers": [(b"host", b"localhost")]}
    with pytest.raises(Forbidden, match="this machine"):
        guard.allow(scope, "session:read")


async def test_nothing_is_allowed_to_other_origins(site: Site) -> None:
    reply = await site.call("GET", "/session", headers={"Origin": "https://example.org"})
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]


async def test_a_namespace_sees_nothing_of_another(site: Site) -> None:
    here = await site.call("POST", "/task", {"capability": "apart"})
    other = {"X-OpsCore-Namespace": "tenant-b"}
    path = f"/session/{here.good['sessionId']}"
    assert (await site.call("GET", path)).status == 200
    assert (await site.call("GET", path, headers=other)).status == 404
    theirs = (await site.call("POST", "/task", {"capability": "apart"}, headers=other)).good
    assert (await site.call("GET", f"/task/{theirs['taskId']}")).status == 404
    listed = (await site.call("GET", "/session", headers=other)).good["sessions"]
    assert [one["sessionId"] for one in listed] == [theirs["sessionId"]]


async def test_an_impossible_namespace_is_refused(site: Site) -> None:
    reply = await site.call("GET", "/session", headers={"X-OpsCore-Namespace": "No Such!"})
    assert reply.status == 400 and "X-OpsCore-Namespace" in reply.body["detail"]
