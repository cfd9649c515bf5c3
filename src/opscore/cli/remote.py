"""Talking to a server: JSON in, JSON out, and refusals as words with an exit code.

The commands show what the server sends, fields of a newer server included, so answers stay plain
JSON here instead of becoming typed records.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import aiohttp
import msgspec

from opscore.cli import exits
from opscore.cli.exits import Stop, usage
from opscore.cli.follow import PATIENCE_SECONDS
from opscore.cli.settings import Common
from opscore.sdk.calls import Calls
from opscore.sdk.errors import OpsCoreProblem, ServerUnreachable
from opscore.sdk.follow import feed, log_frames
from opscore.sdk.server import Server, segment
from opscore.wire.base import PointedError

PAGE = 200
STREAM = aiohttp.ClientTimeout(total=None, sock_connect=10)
Json = dict[str, Any]

part = segment


class Unreachable(Stop):
    """Nobody answers; it may pass."""


class Remote:
    """One server, for the length of one command. Every refusal is raised as `Stop`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def get(self, path: str, **query: object) -> Json:
        """Read one document; a query value of None is left out."""
        return await self.send("GET", path, query=query)

    async def post(self, path: str, body: object = None, *, key: str | None = None) -> Json:
        """`POST` a JSON body; `key` is the `Idempotency-Key`, if the user gave one."""
        return await self.send("POST", path, body, key=key)

    async def patch(self, path: str, body: object) -> Json:
        """`PATCH` with only the fields that change."""
        return await self.send("PATCH", path, body)

    async def delete(self, path: str) -> None:
        """`DELETE`."""
        await self.send("DELETE", path)

    async def template(self, path: str, text: str, content_type: str, source: str) -> Json:
        """`POST` a template as it was written; `source` names its file in what is refused."""
        return await self.send(
            "POST", path, text.encode(), content_type=content_type, source=source
        )

    async def listing(self, path: str, key: str, limit: int, /, **query: object) -> list[Json]:
        """Up to `limit` items of a paged list, over as many pages as that takes."""
        if limit < 1:
            raise usage("--limit is 1 or more")
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

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Json | None = None,
        content_type: str = "application/json",
        source: str = "",
        key: str | None = None,
    ) -> Json:
        """One request; the JSON object of its answer, `{}` for an empty one."""
        try:
            if method == "GET":
                raw = await self._calls.send(method, path, params=_words(query or {}), again=True)
            else:
                raw = await self._calls.change(
                    method, path, body, key=key, content_type=content_type
                )
            return msgspec.json.decode(raw, type=Json) if raw else {}
        except (OpsCoreProblem, ServerUnreachable, msgspec.MsgspecError) as problem:
            raise refused(problem, source) from None

    async def clock(self) -> datetime | None:
        """What the server's clock shows, in whole seconds; None when it does not tell."""
        try:
            async with self._calls.open("GET", "//health", timeout=STREAM) as answer:
                return parsedate_to_datetime(answer.headers["Date"])
        except (KeyError, ValueError):
            return None
        except (OpsCoreProblem, ServerUnreachable) as problem:
            raise refused(problem) from None

    async def events(self, path: str, after: int = 0) -> AsyncGenerator[int]:
        """The numbers of a server-sent event stream that come after `after`, until it ends.

        Raises `Stop` when it breaks.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        try:
            async with self._calls.open("GET", path, headers=headers, timeout=STREAM) as answer:
                async for line in answer.content:
                    if line.startswith(b"id:"):
                        yield int(line[3:])
        except (OpsCoreProblem, ServerUnreachable) as problem:
            raise refused(problem) from None

    async def feed(self, **wanted: object) -> AsyncGenerator[Json]:
        """The events of `GET /event`, as `opscore.sdk.follow.feed` gives them."""
        try:
            async with aclosing(feed(self._calls, _words(wanted), PATIENCE_SECONDS)) as events:
                async for event in events:
                    yield msgspec.json.decode(event, type=Json)
        except (OpsCoreProblem, ServerUnreachable, msgspec.MsgspecError) as problem:
            raise refused(problem) from None

    async def logs(self, **wanted: object) -> AsyncGenerator[tuple[str, Json]]:
        """The messages of `GET /log/stream`: the type of each (`log`, `dropped`), and what it says."""
        try:
            async with aclosing(log_frames(self._calls, wanted, PATIENCE_SECONDS)) as frames:
                async for frame in frames:
                    yield frame.name, msgspec.json.decode(frame.data, type=Json)
        except (OpsCoreProblem, ServerUnreachable, msgspec.MsgspecError) as problem:
            raise refused(problem) from None


@asynccontextmanager
async def connect(common: Common) -> AsyncGenerator[Remote]:
    """The server that the settings name."""
    try:
        server = Server.resolve(common.url, common.api_key, common.namespace)
    except ValueError as problem:
        raise usage(str(problem), "for example OPSCORE_URL=http://127.0.0.1:8700") from None
    calls = Calls(server)
    try:
        yield Remote(calls)
    finally:
        await calls.close()


def refused(problem: Exception, source: str = "") -> Stop:
    """What the SDK raised, as the lines and the exit code of a command."""
    match problem:
        case OpsCoreProblem():
            return Stop(_code(problem.status), *_explain(problem, source))
        case ServerUnreachable():
            return Unreachable(exits.ERROR, f"error: {problem}")
        case _:
            return exits.failure(f"the answer is not JSON: {problem}", "is this the right URL?")


def fault_lines(fault: PointedError, source: str = "") -> list[str]:
    """One fault: `file:line:column: message`, and under it what to do."""
    place = [source or "template", str(fault.line), str(fault.column or 1)]
    where = ":".join(place) if fault.line else f"{source} {fault.pointer}".strip()
    lines = [f"  {where or 'document'}: {fault.message}"]
    return [*lines, f"    {fault.hint}"] if fault.hint else lines


def _explain(problem: OpsCoreProblem, source: str) -> list[str]:
    lines = [f"error: {problem.detail}"]
    for fault in problem.errors:
        lines += fault_lines(fault, source)
    if problem.status == 401:
        lines.append("  set OPSCORE_API_KEY to a key of this server")
    if problem.retry_after is not None:
        lines.append(f"  try again in {problem.retry_after:g} s")
    return lines


def _code(status: int) -> int:
    codes = {404: exits.NOT_FOUND, 408: exits.TIMEOUT, 504: exits.TIMEOUT}
    return codes.get(status, exits.ERROR)


def _words(query: Json) -> Json:
    """Query values as the wire spells them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in query.items()
    }
