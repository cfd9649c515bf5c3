"""Deny by default: route × scope × namespace × trick, generated over every route there is."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from opscore.api.app import create_app
from opscore.api.settings import ServerSettings
from opscore.core.access import SCOPES
from tests.api.conftest import KEY, Site, serving
from tests.api.permissions import NEEDS, SIGNED, V1, full, served
from tests.core.test_access import ALLOWED

REFUSED = {400, 401, 403, 404, 405, 426}
"""What a trick may be answered with: never the thing itself, and never a crash."""
REST = {route: need for route, need in NEEDS.items() if not route.startswith("WEBSOCKET")}


@dataclass(frozen=True)
class Doors:
    """A server, and a key for every scope, for another namespace, and for nothing any more."""

    site: Site
    http: aiohttp.ClientSession
    keys: dict[str, str]

    async def status(self, method: str, target: str, key: str | None, **headers: str) -> int:
        """The status alone: some answers have no end. The target is sent as it is."""
        url = URL(self.site.url + target, encoded=True)
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        options: dict[str, Any] = {"headers": headers, "allow_redirects": False}
        if method in {"POST", "PATCH"}:
            options |= {"data": b"{}"}
            headers["content-type"] = "application/json"
        async with self.http.request(method, url, **options) as reply:
            return reply.status

    async def upgrade(self, target: str, key: str | None) -> int:
        """The status of a WebSocket's handshake; 101 when it was let in."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            async with self.http.ws_connect(self.site.url + target, headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as refused:
            return refused.status


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors() -> AsyncGenerator[Doors, None]:
    settings = ServerSettings(api_key=KEY, stop_seconds=2)
    async with serving(settings) as site, aiohttp.ClientSession() as http:
        keys: dict[str, str] = {}
        for name, scopes, namespace in [
            *((scope, [scope], "default") for scope in SCOPES),
            ("elsewhere", ["admin"], "elsewhere"),
            ("revoked", ["admin"], "default"),
        ]:
            made = await site.engine.keys.create(name, scopes, namespace=namespace)
            keys[name] = made.token or ""
            if name == "revoked":
                await site.engine.keys.revoke(made.key.key_id)
        yield Doors(site, http, keys)


def target(route: str) -> tuple[str, str]:
    """The method and a path of the route, for things that do not exist."""
    method, path = route.split(" ", 1)
    path = path.replace("/schema/{name}", "/schema/session.json")
    return method, full(re.sub(r"\{\w+\}", "some-id", path))


def test_every_route_is_in_the_matrix(site: Site) -> None:
    assert served(create_app(site.engine, ServerSettings(api_key=KEY))) == NEEDS


@pytest.mark.parametrize("route", REST)
async def test_a_route_lets_in_who_has_the_right_and_nobody_else(doors: Doors, route: str) -> None:
    method, path = target(route)
    need = NEEDS[route]
    if need == "public":
        assert await doors.status(method, path, None) == (401 if route in SIGNED else 200)
        return
    strangers = [None, "", "x" * 64, doors.keys["revoked"], doors.keys["admin"][:-1]]
    assert [await doors.status(method, path, key) for key in strangers] == [401] * len(strangers)
    for scope in SCOPES:
        status = await doors.status(method, path, doors.keys[scope])
        allowed = need in ALLOWED[scope].split()
        assert (status not in {401, 403}) is allowed, (scope, status)
        assert allowed or status == 403
        assert status < 500


@pytest.mark.parametrize("route", [one for one in REST if NEEDS[one] != "public"])
async def test_a_key_of_another_namespace_is_no_key_here(doors: Doors, route: str) -> None:
    method, path = target(route)
    key, here = doors.keys["elsewhere"], {"X-OpsCore-Namespace": "default"}
    assert await doors.status(method, path, key, **here) == 403
    assert await doors.status(method, path, key) not in {401, 403}


def tricks(path: str) -> Iterator[str]:
    """Other spellings of a path, by which rules in front of servers are passed by."""
    yield path + "/"
    yield path + "//"
    yield path + "/."
    yield path + "%2f"
    yield path + "%00"
    yield path + ";x=1"
    yield path + ".json"
    yield path + "/..;/" + path.rsplit("/", 1)[-1]
    yield path + "%20"
    yield "/" + path
    yield "//" + path
    yield "/health/.." + path
    yield "/health/%2e%2e" + path
    yield path.replace("/v1/", "/V1/")
    yield path.replace("/opscore/", "/opscore//")
    yield path.replace("/opscore/", "/opscore%2f")
    yield path.replace("/opscore/", "/./opscore/")
    yield path.replace("/opscore/", "/opscore\\")
    yield path.upper()


@pytest.mark.parametrize("route", [one for one in REST if NEEDS[one] != "public"])
async def test_no_spelling_of_a_path_passes_the_rule_by(doors: Doors, route: str) -> None:
    method, path = target(route)
    lacking = next(s for s in SCOPES if NEEDS[route] not in ALLOWED[s].split())
    for trick in tricks(path):
        if trick == path:
            continue
        for key in (None, doors.keys[lacking]):
            assert await doors.status(method, trick, key) in REFUSED, (trick, key)


@pytest.mark.parametrize("route", [one for one in REST if NEEDS[one] != "public"])
async def test_no_other_way_of_asking_passes_the_rule_by(doors: Doors, route: str) -> None:
    method, path = target(route)
    key = doors.keys["admin"]
    for query in (f"access_token={key}", f"api_key={key}", f"token={key}", f"key={key}"):
        assert await doors.status(method, f"{path}?{query}", None) == 401
    cookie = {"Cookie": f"Authorization=Bearer {key}; token={key}"}
    assert await doors.status(method, path, None, **cookie) == 401
    for other in ("OPTIONS", "TRACE", "PUT", "PROPFIND"):
        assert await doors.status(other, path, None) in REFUSED
    override = {"X-HTTP-Method-Override": "GET", "X-Original-URL": "/health"}
    assert await doors.status(method, path, None, **override) == 401
    if method == "GET":
        lacking = next(s for s in SCOPES if NEEDS[route] not in ALLOWED[s].split())
        assert await doors.status("HEAD", path, None) == 401
        assert await doors.status("HEAD", path, doors.keys[lacking]) == 403
        same = [await doors.status(one, path, key) for one in ("HEAD", "GET")]
        assert same[0] == same[1]


@pytest.mark.parametrize("route", [one for one in NEEDS if one.startswith("WEBSOCKET")])
async def test_a_socket_opens_for_who_has_the_right_and_nobody_else(
    doors: Doors, route: str
) -> None:
    _, path = target(route)
    for key in (None, "x" * 64, doors.keys["revoked"]):
        assert await doors.upgrade(path, key) == 401
    assert await doors.upgrade(f"{path}?access_token={doors.keys['admin']}", None) == 401
    for scope in SCOPES:
        allowed = NEEDS[route] in ALLOWED[scope].split()
        assert await doors.upgrade(path, doors.keys[scope]) == (101 if allowed else 403)
    for trick in tricks(path):
        assert trick == path or await doors.upgrade(trick, None) in REFUSED, trick
    assert await doors.status("GET", path, None) in REFUSED


@pytest.mark.parametrize("route", REST)
async def test_no_route_becomes_a_socket(doors: Doors, route: str) -> None:
    assert await doors.upgrade(target(route)[1], doors.keys["admin"]) in REFUSED


async def test_what_is_no_route_is_nothing(doors: Doors) -> None:
    for path in ("/", "/v1", V1, f"{V1}/", f"{V1}/secret", f"{V1}/key/a/b/c", "/admin", "/.env"):
        assert await doors.status("GET", path, None) == 404
