"""Talking to a server: JSON in, JSON out, and refusals as words with an exit code.

The commands show what the server sends, fields of a newer server included, so answers stay plain
JSON here instead of becoming typed records.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

import aiohttp

from opscore.cli import exits
from opscore.cli.exits import Stop
from opscore.cli.settings import Common

BASE = "/v1/opscore"
PAGE = 200
ANSWER_SECONDS = 60
Json = dict[str, Any]


class Unreachable(Stop):
    """Nobody answers; it may pass."""


class Remote:
    """One server, for the length of one command."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self.url = url

    async def get(self, path: str, **query: object) -> Any:
        """`GET`; raises `Stop` for every refusal (404 with exit code 3)."""
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: object = None) -> Any:
        """`POST` a JSON body."""
        return await self.call("POST", path, body=body)

    async def patch(self, path: str, body: object) -> Any:
        """`PATCH` with only the fields that change."""
        return await self.call("PATCH", path, body=body)

    async def delete(self, path: str) -> None:
        """`DELETE`."""
        await self.call("DELETE", path)

    async def listing(self, path: str, key: str, limit: int, **query: object) -> list[Json]:
        """Up to `limit` items of a paged list, over as many pages as that takes."""
        items: list[Json] = []
        cursor: str | None = None
        while len(items) < limit:
            wanted = min(PAGE, limit - len(items))
            page = await self.get(path, **query, cursor=cursor, limit=wanted)
            items += cast("list[Json]", page.get(key, []))
            cursor = page.get("nextCursor")
            if not cursor:
                break
        return items[:limit]

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        text: str | None = None,
        content_type: str = "application/json",
        source: str = "",
    ) -> Any:
        """One request. `text` is sent as it stands; `source` names the file that it came from."""
        data = text if text is not None else (None if body is None else json.dumps(body))
        try:
            async with self._http.request(
                method,
                self.url + BASE + path,
                params=_query(query),
                data=data,
                headers={"Content-Type": content_type} if data is not None else None,
            ) as response:
                raw = await response.read()
                return _answer(response, raw, source)
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise unreachable(self.url, problem) from None

    async def events(self, path: str) -> AsyncGenerator[Json]:
        """The JSON data of a server-sent event stream until it ends or breaks."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None, sock_connect=10)
        headers = {"Accept": "text/event-stream"}
        try:
            async with self._http.get(
                self.url + BASE + path, timeout=timeout, headers=headers
            ) as response:
                if response.status != 200:
                    _answer(response, await response.read(), "")
                async for line in response.content:
                    if line.startswith(b"data:"):
                        yield json.loads(line[5:])
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise unreachable(self.url, problem) from None


@asynccontextmanager
async def connect(common: Common) -> AsyncIterator[Remote]:
    """The server that the settings name."""
    headers = {"Accept": "application/json"}
    if common.api_key:
        headers["Authorization"] = f"Bearer {common.api_key}"
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=10)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
        yield Remote(http, common.url.rstrip("/"))


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def unreachable(url: str, problem: BaseException) -> Stop:
    """Nobody answers at `url`."""
    if isinstance(problem, aiohttp.InvalidURL):
        return exits.usage(f"{url!r} is not a URL", "for example OPSCORE_URL=http://127.0.0.1:8700")
    if isinstance(problem, TimeoutError):
        return Unreachable(exits.TIMEOUT, f"error: {url} did not answer in time")
    reason = getattr(problem, "strerror", None) or problem or type(problem).__name__
    return Unreachable(
        exits.ERROR,
        f"error: cannot reach {url}: {reason}",
        "  start a server with `opscore dev`, or name one with --url or OPSCORE_URL",
    )


def _query(query: Mapping[str, object] | None) -> dict[str, str]:
    words = {True: "true", False: "false"}
    return {
        name: words[value] if isinstance(value, bool) else str(value)
        for name, value in (query or {}).items()
        if value not in {None, ""}
    }


def _answer(response: aiohttp.ClientResponse, raw: bytes, source: str) -> Any:
    status = response.status
    document = _document(raw)
    if status < 300:
        return document
    problem = cast("Json", document) if isinstance(document, dict) else {}
    lines = explain(problem, status, source)
    if status == 401:
        lines.append("  set OPSCORE_API_KEY to a key of this server")
    if after := response.headers.get("Retry-After"):
        lines.append(f"  try again in {after} s")
    raise Stop(_code(status), *lines)


def _document(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None


def _code(status: int) -> int:
    codes = {404: exits.NOT_FOUND, 408: exits.TIMEOUT, 504: exits.TIMEOUT}
    return codes.get(status, exits.ERROR)


def explain(problem: Json, status: int, source: str = "") -> list[str]:
    """A problem document as lines: what is wrong, then where and what to do, fault by fault."""
    detail = problem.get("detail") or problem.get("title") or f"the server answered {status}"
    lines = [f"error: {detail}"]
    for fault in cast("list[Json]", problem.get("errors") or []):
        lines += fault_lines(fault, source)
    return lines


def fault_lines(fault: Json, source: str = "") -> list[str]:
    """One fault: `file:line:column: message`, and under it what to do."""
    line, column = fault.get("line"), fault.get("column")
    place = [str(one) for one in (source, line, column) if one]
    where = ":".join(place) if line else " ".join([source, str(fault.get("pointer") or "")]).strip()
    lines = [f"  {where or '(document)'}: {fault.get('message', '')}"]
    if hint := fault.get("hint"):
        lines.append(f"    {hint}")
    return lines
