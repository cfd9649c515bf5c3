"""HTTP calls: bodies to structs, problems to exceptions, reads tried again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import aiohttp
import msgspec

from opscore.sdk.errors import OpsCoreProblem, ServerUnreachable
from opscore.sdk.server import Backoff, Server
from opscore.wire.base import Problem

T = TypeVar("T")
JSON = "application/json"
READ_TRIES = 5
TIMEOUT_SECONDS = 30.0
# The server's answer is lost or it asks to come again; a refusal for cause is never repeated.
_AGAIN = frozenset({502, 503, 504})


class Calls:
    """One pooled HTTP session to a server; opened on the first call, in the loop of that call."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pooled session."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self.server.headers(),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
                connector=aiohttp.TCPConnector(limit=100),
            )
        return self._session

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, kind: type[T], params: Mapping[str, object] | None = None) -> T:
        """Read and decode; tried again while the server is away for a moment."""
        return decode(await self.send("GET", path, params=params, again=True), kind)

    async def post(
        self, path: str, body: object, kind: type[T], *, timeout: float = TIMEOUT_SECONDS
    ) -> T:
        """Post one JSON document and decode the answer; sent once."""
        return decode(await self.send("POST", path, body=body, timeout=timeout), kind)

    async def change(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        content_type: str = JSON,
    ) -> bytes:
        """Change something: as `send`, but tried again as reads are, and carried out once.

        `key` is the `Idempotency-Key` that the tries have in common; without one it is made here.
        """
        return await self.send(
            method,
            path,
            body=body,
            content_type=content_type,
            headers={"Idempotency-Key": key or secrets.token_hex(16)},
            again=True,
        )

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content_type: str = JSON,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool = False,
        timeout: float = TIMEOUT_SECONDS,
    ) -> bytes:
        """One request; gives the body of a 2xx answer.

        `body`: bytes as they are, None for no body, anything else as JSON. `again`: repeat, with
        growing delays, when the connection breaks or the server answers 502, 503 or 504; only for
        what may be sent twice. A refused connection is never repeated: nobody is there.
        Raises `OpsCoreProblem` and `ServerUnreachable`.
        """
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        backoff = Backoff()
        for tries in range(READ_TRIES, 0, -1):
            try:
                async with self.open(
                    method,
                    path,
                    data=data,
                    params=params,
                    headers=_with_type(headers, data, content_type),
                    timeout=aiohttp.ClientTimeout(total=timeout),
                ) as answer:
                    return await answer.read()
            except OpsCoreProblem as problem:
                if not again or tries == 1 or not _passing(problem):
                    raise
            except ServerUnreachable as lost:
                if not again or tries == 1 or not lost.sent:
                    raise
            await asyncio.sleep(backoff.next())
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """One request whose 2xx answer is still to be read. A path of the root starts with `//`."""
        url = self.server.url + path[1:] if path.startswith("//") else self.server.at(path)
        given = {name: str(value) for name, value in (params or {}).items() if value is not None}
        try:
            async with self.session.request(
                method, url, data=data, params=given, headers=headers, timeout=timeout
            ) as answer:
                if answer.status >= 300:
                    raise problem_of(answer.status, await answer.read(), answer.headers)
                yield answer
        except aiohttp.ClientConnectorError as error:
            raise ServerUnreachable(self.server.url, _words(error.os_error)) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ServerUnreachable(self.server.url, _words(error), sent=True) from error


def _passing(problem: OpsCoreProblem) -> bool:
    """Whether the same request may fare better in a moment."""
    return problem.status in _AGAIN or problem.code == "idempotency_running"


def decode(body: bytes, kind: type[T]) -> T:
    """The answer as `kind`; an answer of another shape is a problem of code `bad_answer`."""
    if kind is bytes:
        return cast("T", body)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise OpsCoreProblem(
            200, "bad_answer", f"the answer is not what the contract says: {error}"
        ) from error


def problem_of(status: int, body: bytes, headers: Mapping[str, str]) -> OpsCoreProblem:
    """An error answer as an exception, also when something in between wrote it."""
    retry_after = _seconds(headers.get("Retry-After"))
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.MsgspecError:
        text = body[:200].decode("utf-8", "replace").strip() or "no explanation"
        return OpsCoreProblem(status, "unexpected_answer", text, retry_after=retry_after)
    return OpsCoreProblem(
        status, problem.code, problem.detail, problem.errors, retry_after=retry_after
    )


def _with_type(
    headers: Mapping[str, str] | None, data: bytes | None, content_type: str
) -> dict[str, str]:
    given = dict(headers or {})
    if data is not None:
        given["Content-Type"] = content_type
    return given


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return str(error) or type(error).__name__


def body_of(**fields: Any) -> dict[str, Any]:
    """A JSON object of the fields that were given (None: left out)."""
    return {name: value for name, value in fields.items() if value is not None}
