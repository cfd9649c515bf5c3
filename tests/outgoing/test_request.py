"""Requests that leave, and those that must not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from opscore.outgoing.addresses import LOOPBACK, Rules, networks
from opscore.outgoing.request import Answer, Failure, Outgoing, OutgoingFailed, Resolve
from tests.outgoing.lines import Line, http, line
from tests.outgoing.test_addresses import DENIED

OPEN = Rules(LOOPBACK)
OK = http("200 OK", b"{}", "content-type: application/json")


async def unheard(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"nothing asks for {host}:{port}")


@asynccontextmanager
async def outgoing(rules: Rules = OPEN, resolve: Resolve = unheard) -> AsyncGenerator[Outgoing]:
    client = Outgoing(rules, resolve)
    try:
        yield client
    finally:
        await client.close()


async def post(client: Outgoing, url: str, seconds: float = 5, **options: int) -> Answer:
    return await client.post(url, b'{"a":1}', {"x-one": "1"}, seconds=seconds, **options)


async def failure(client: Outgoing, url: str, seconds: float = 5, **options: int) -> Failure:
    with pytest.raises(OutgoingFailed) as caught:
        await post(client, url, seconds, **options)
    return caught.value.failure


async def test_a_request_and_its_answer() -> None:
    async with line(OK) as there, outgoing() as client:
        answer = await post(client, there.url)
        assert (answer.status, answer.body) == (200, b"{}")
        assert answer.headers["content-type"] == "application/json"
        (heard,) = there.heard
        assert heard.startswith(b"POST /agent HTTP/1.1\r\n")
        assert b"x-one: 1" in heard.lower()
        assert heard.endswith(b'{"a":1}')


async def refused(url: str, there: Line, resolve: Resolve) -> None:
    async with outgoing(Rules(), resolve) as client:
        assert await failure(client, url) is Failure.DENIED
        assert there.connections == 0


async def test_no_connection_to_any_denied_address() -> None:
    """As a literal, and as what a name resolves to."""
    async with line(OK) as there:
        for each in DENIED:
            address = each.split()[0]
            literal = f"[{address}]" if ":" in address else address
            if "%" not in address:
                await refused(f"http://{literal}:{there.port}/", there, unheard)

            async def resolve(host: str, port: int, found: str = address) -> Sequence[str]:
                assert (host, port) == ("agent.example", there.port)
                return [found]

            await refused(f"http://agent.example:{there.port}/", there, resolve)


@pytest.mark.parametrize("host", ["localhost", "localhost.", "0x7f000001", "0177.0.0.1", "127.1"])
async def test_other_spellings_of_this_machine(host: str) -> None:
    async with line(OK) as there:
        client = Outgoing(Rules())
        why = await failure(client, f"http://{host}:{there.port}/")
        await client.close()
        assert why in {Failure.DENIED, Failure.ADDRESS, Failure.UNREACHABLE, Failure.BROKEN}
        assert there.connections == 0


async def test_a_name_that_resolves_elsewhere_the_second_time() -> None:
    """It is resolved once for each request, and the address that was checked is the one called."""
    answers = iter([["192.0.2.1"], ["127.0.0.1"]])
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    async with line(OK) as there, outgoing(Rules(networks(["192.0.2.0/24"])), resolve) as client:
        url = f"http://rebinding.example:{there.port}/"
        # The first address is allowed here, and nobody lives there.
        assert await failure(client, url, 0.05) in {Failure.TIMEOUT, Failure.UNREACHABLE}
        assert asked == ["rebinding.example"]
        assert await failure(client, url) is Failure.DENIED
        assert there.connections == 0


async def test_of_several_addresses_only_the_allowed_are_called() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.1", "127.0.0.1", "169.254.169.254"]

    async with line(OK) as there, outgoing(OPEN, resolve) as client:
        assert (await post(client, f"http://several.example:{there.port}/")).status == 200


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async with line(OK) as trap:
        moved = http("307 Temporary Redirect", b"", f"location: {trap.url}")
        async with line(moved) as there, outgoing() as client:
            assert (await post(client, there.url)).status == 307
            assert trap.connections == 0


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with line(OK) as trap, line(OK) as there, outgoing() as client:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
        assert (await post(client, there.url)).status == 200
        assert trap.connections == 0


async def test_cookies_are_not_carried_along() -> None:
    async with line(http("200 OK", b"", "set-cookie: a=1")) as there, outgoing() as client:
        await post(client, there.url)
        await post(client, there.url)
        assert b"cookie" not in there.heard[1].lower()


async def test_an_answer_that_is_too_large() -> None:
    async with line(http("200 OK", b"x" * 2000)) as there, outgoing() as client:
        assert await failure(client, there.url, limit=1999) is Failure.TOO_LARGE
        assert len((await post(client, there.url, limit=2000)).body) == 2000


async def test_nobody_answers_in_time() -> None:
    async with line(None) as there, outgoing() as client:
        assert await failure(client, there.url, 0.05) is Failure.TIMEOUT
        assert there.connections == 1


async def test_nobody_listens() -> None:
    async with line(OK) as there:
        url = there.url
    async with outgoing() as client:
        assert await failure(client, url) is Failure.UNREACHABLE


@pytest.mark.parametrize("says", [b"SSH-2.0-OpenSSH_9\r\n\r\n", b""])
async def test_what_is_not_http(says: bytes) -> None:
    async with line(says) as there, outgoing() as client:
        assert await failure(client, there.url) is Failure.BROKEN


async def test_a_name_that_nobody_knows() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    async with outgoing(OPEN, resolve) as client:
        assert await failure(client, "http://nobody.example/") is Failure.UNREACHABLE


@pytest.mark.parametrize(
    "url",
    [
        "",
        "agent",
        "/agent",
        "ftp://agent.example/",
        "file:///etc/passwd",
        "http://",
        "http://agent.example:99999/",
        "http://user:secret@agent.example/",
        "http://agent.example/" + "a" * 2048,
    ],
)
async def test_what_is_no_address_is_not_called(url: str) -> None:
    async with outgoing() as client:
        assert await failure(client, url) is Failure.ADDRESS


async def test_the_last_gate_stands_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the first two looks at the address were wrong."""
    monkeypatch.setattr("opscore.outgoing.request._is_literal", str.isspace)
    async with line(OK) as there, outgoing(Rules()) as client:
        assert await failure(client, there.url) is Failure.DENIED
        await asyncio.sleep(0)
        assert there.connections == 0
