"""One request to an address that a user gave: resolved once, checked, bounded, never redirected.

aiohttp resolves through `_Resolver` and makes every socket through `Outgoing._socket`, so that no
connection begins before its address was looked at, whatever the name resolved to a moment ago.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from opscore.core.errors import OpsCoreError
from opscore.outgoing.addresses import Rules

ANSWER_LIMIT = 1024 * 1024
URL_LENGTH = 2048
CONNECT_SECONDS = 10.0

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, as text. Raises OSError when it has none."""


class Failure(StrEnum):
    """Why there is no answer."""

    ADDRESS = "address"
    DENIED = "denied"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"
    TOO_LARGE = "too_large"


class OutgoingFailed(OpsCoreError):
    """There is no answer; `failure` says of what kind this is, the text says it to people."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class _Denied(OSError):
    """An address that the rules refuse. An OSError, so that aiohttp passes it on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def checked_url(text: str, rules: Rules) -> URL:
    """The URL, if it can be called at all. Raises OutgoingFailed (`address` or `denied`).

    What a name resolves to is only known, and checked, when it is called.
    """
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError as error:
        raise OutgoingFailed(Failure.ADDRESS, f"{text[:200]!r} is not a URL: {error}") from error
    if len(text) > URL_LENGTH:
        raise OutgoingFailed(Failure.ADDRESS, f"a URL has {URL_LENGTH} characters at most")
    if url.scheme not in {"http", "https"} or not host or not port:
        raise OutgoingFailed(Failure.ADDRESS, f"{text[:200]!r} is not an http or https URL")
    if url.user is not None or url.password is not None:
        raise OutgoingFailed(Failure.ADDRESS, "a URL here carries no user name and no password")
    if _is_literal(host) and (kind := rules.why_denied(host)) is not None:
        raise OutgoingFailed(Failure.DENIED, _denial(host, kind))
    return url


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except OSError:
            continue
        return True
    return False


def _denial(host: str, kind: str) -> str:
    return (
        f"{host} has a {kind} address, which is not called; "
        "an operator can allow its network with OPSCORE_OUTGOING_ALLOW"
    )


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """What the operating system knows of a name."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class _Resolver(AbstractResolver):
    """Gives aiohttp the addresses that may be called, as numbers: nothing is resolved again."""

    def __init__(self, rules: Rules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolve(host, port)
        kinds = {address: self._rules.why_denied(address) for address in found}
        allowed = [address for address, kind in kinds.items() if kind is None]
        if found and not allowed:
            raise _Denied(_denial(host, next(filter(None, kinds.values()))))
        return [_result(host, address, port) for address in allowed]

    async def close(self) -> None:
        """Nothing is held."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


class Outgoing:
    """The one client for everything that leaves. `close` when done; it can be used again then."""

    def __init__(self, rules: Rules, resolve: Resolve = system_resolve) -> None:
        self.rules = rules
        self._resolve = resolve
        self._http: aiohttp.ClientSession | None = None

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        seconds: float,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """POST and read the whole answer, at most `limit` bytes, within `seconds`.

        Any status is an answer, a redirect too. Raises OutgoingFailed.
        """
        return await self._send("POST", url, body, headers, seconds, limit)

    async def get(self, url: str, *, seconds: float, limit: int = ANSWER_LIMIT) -> Answer:
        """As `post`."""
        return await self._send("GET", url, None, {}, seconds, limit)

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        seconds: float,
        limit: int,
    ) -> Answer:
        target = checked_url(url, self.rules)
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT_SECONDS))
        try:
            async with self._session().request(
                method,
                target,
                data=body,
                headers={"accept-encoding": "identity", **headers},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                return Answer(
                    response.status,
                    {name.lower(): value for name, value in response.headers.items()},
                    await _bounded(response, limit),
                )
        except TimeoutError as error:
            text = f"{target.host} gave no answer within {seconds:g} seconds"
            raise OutgoingFailed(Failure.TIMEOUT, text) from error
        except aiohttp.ClientError as error:
            raise _failure(target, error) from error

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            connector = aiohttp.TCPConnector(
                resolver=_Resolver(self.rules, self._resolve),
                socket_factory=self._socket,
                use_dns_cache=False,
                # Kept connections would be a way around the check, and break in the middle of a
                # POST of which nobody knows then whether it arrived.
                force_close=True,
                # What is under way is bounded by whoever calls; no slow host may hold up another.
                limit=0,
            )
            self._http = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._http

    def _socket(self, info: Any) -> socket.socket:
        """The last gate: no socket is made for an address that the rules refuse."""
        family, kind, protocol, _, sockaddr = info
        why = self.rules.why_denied(str(sockaddr[0]))
        if why is not None:
            raise _Denied(_denial(str(sockaddr[0]), why))
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    async def close(self) -> None:
        """Let every connection go. Idempotent."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()


async def _bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > limit:
            response.close()
            raise OutgoingFailed(Failure.TOO_LARGE, f"the answer has more than {limit} bytes")
    return b"".join(parts)


def _failure(target: URL, error: aiohttp.ClientError) -> OutgoingFailed:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    if isinstance(cause, _Denied):
        return OutgoingFailed(Failure.DENIED, str(cause))
    if isinstance(error, aiohttp.ClientConnectionError) and not isinstance(
        error, aiohttp.ServerDisconnectedError
    ):
        why = (cause.strerror if cause is not None else None) or str(error) or "no connection"
        return OutgoingFailed(Failure.UNREACHABLE, f"{target.host} cannot be reached: {why}")
    return OutgoingFailed(Failure.BROKEN, f"{target.host} did not answer as HTTP: {error}")
