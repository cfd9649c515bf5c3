"""Listening, refusing to start, and the pages of the server itself."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from opscore.api import documentation
from opscore.api.app import by_path
from opscore.api.server import PortTaken, listen, run, url_of
from opscore.api.settings import ServerSettings, SettingsRefused
from opscore.telemetry.logs import CLIENTS_FAULT, configure
from tests.api.conftest import KEY, Site


def test_a_taken_port_is_refused_with_what_to_do() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port} on 127.0.0.1 is taken.*another port"):
            listen("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(PortTaken, match=r"192\.0\.2\.1"):
        listen("192.0.2.1", 8700)


def test_a_port_can_be_used_again_at_once() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            first.accept()[0].close()
    listen("127.0.0.1", port).close()


async def test_nothing_happens_before_the_port_is_ours() -> None:
    async def never() -> Any:
        raise AssertionError("the engine was opened first")

    with listen("127.0.0.1", 0) as taken:
        settings = ServerSettings(development=True, port=taken.getsockname()[1])
        with pytest.raises(PortTaken):
            await run(never, settings)


async def test_settings_are_checked_first() -> None:
    async def never() -> Any:
        raise AssertionError("the engine was opened first")

    with pytest.raises(SettingsRefused):
        await run(never, ServerSettings(api_key="short"))


def test_the_url_of_a_listener_can_be_called() -> None:
    with listen("0.0.0.0", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_health_and_readiness(site: Site) -> None:
    assert (await site.call("GET", "/health", root=True)).body == {"status": "ok"}
    reply = await site.call("GET", "/ready", root=True)
    assert reply.status == 200
    assert (reply.body["ready"], reply.body["reasons"]) == (True, [])
    parts: dict[str, Any] = {k: v for k, v in reply.body.items() if k not in ("ready", "reasons")}
    assert sorted(parts) == ["callbacks", "hooks", "logs"]
    assert all(part["problem"] is None for part in parts.values())


async def test_readiness_says_why_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def reasons() -> list[str]:
        return ["the disk is full"]

    monkeypatch.setattr(site.engine, "ready", reasons)
    reply = await site.call("GET", "/ready", root=True)
    assert (reply.status, reply.body["reasons"]) == (503, ["the disk is full"])


async def test_head_is_get_without_a_body(site: Site) -> None:
    reply = await site.call("HEAD", "/health", root=True)
    assert (reply.status, reply.raw) == (200, b"")
    assert reply.headers["content-length"] == "15"


async def test_schemas_are_published(site: Site) -> None:
    for name in ("agent", "state-report", "session", "task", "event", "problem"):
        reply = await site.call("GET", f"/schema/{name}.json")
        assert reply.status == 200
        assert reply.body["$schema"].endswith("2020-12/schema")
    for wrong in ("session", "nothing.json"):
        assert (await site.call("GET", f"/schema/{wrong}")).status == 404


async def test_openapi_describes_every_route_with_what_it_takes(site: Site) -> None:
    document = (await site.call("GET", "/openapi.json", root=True)).body
    assert document["openapi"] == "3.1.0"
    described = {(path, method) for path, one in document["paths"].items() for method in one}
    declared = {(o.path, o.method.lower()) for ops in by_path().values() for o in ops}
    assert described == declared
    start = document["paths"]["/v1/opscore/session"]["post"]
    schema = start["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/StartSession"}
    assert start["x-permission"] == "session:start"
    assert {"202", "200", "401", "404"} <= set(start["responses"])
    names = {
        one.get("name") for one in document["paths"]["/v1/opscore/session"]["get"]["parameters"]
    }
    assert {"workflow", "status", "cursor", "limit"} <= names


def test_every_reference_in_openapi_leads_somewhere() -> None:
    document = documentation.described()
    for name in re.findall(r"#/components/schemas/(\w+)", json.dumps(document)):
        assert name in document["components"]["schemas"]


def test_operation_ids_are_unique() -> None:
    document = documentation.described()
    ids = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))


async def test_the_page_needs_no_internet(site: Site) -> None:
    reply = await site.call("GET", "/docs", root=True)
    assert reply.headers["content-type"].startswith("text/html")
    page = reply.raw.decode()
    assert "/v1/opscore/session" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


@pytest.fixture
def logs_restored() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("logs_restored")
def test_logs_are_json_lines_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    structlog.stdlib.get_logger("x").info("told", task_id="t", api_key=KEY, text="a" * 5000)
    logging.getLogger("library").warning("also %s", "this")
    structlog.stdlib.get_logger("x").debug("not this")
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.stdlib.get_logger("x").exception("failed")
    first, second, third = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["level"], first["task_id"]) == ("told", "info", "t")
    assert first["api_key"] == "***"
    assert len(first["text"]) == 4097
    assert second["event"] == "also this"
    assert "ValueError: broken" in third["exception"]


@pytest.mark.usefixtures("logs_restored")
def test_what_a_client_does_wrong_is_no_crash_in_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("info", "json")
    for text in (CLIENTS_FAULT, "Exception in ASGI application"):
        try:
            b"\xff".decode()
        except UnicodeDecodeError:
            logging.getLogger("uvicorn.error").exception(text)
    theirs, ours = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (theirs["event"], theirs["level"]) == (CLIENTS_FAULT, "warning")
    assert "exception" not in theirs
    assert (ours["level"], "Traceback" in ours["exception"]) == ("error", True)


@pytest.mark.usefixtures("logs_restored")
def test_logs_for_people_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure("warning", "console")
    payload = "not for " + "the log"
    try:
        raise ValueError(len(payload))
    except ValueError:
        structlog.stdlib.get_logger("x").exception("told", task_id="t")
    written = capsys.readouterr().err
    assert "task_id='t'" in written
    assert "ValueError: 15" in written
    assert "not for the log" not in written


async def test_two_requests_on_one_connection_stay_apart(site: Site) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
    await writer.drain()
    first = await reader.readuntil(b'{"status":"ok"}')
    second = await reader.readuntil(b"}")
    writer.close()
    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 404")
