"""`opscore trace …`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from opscore.cli.exits import usage
from opscore.cli.output import Columns, Row, plain, print_one, say, table
from opscore.cli.settings import DEFAULTS, Common
from opscore.cli.times import duration
from opscore.cli.waterfall import show


async def trace(
    session: Annotated[str | None, Parameter(help="The session's id.")] = None,
    /,
    *,
    slowest: Annotated[
        bool, Parameter(negative=(), help="Name the slowest steps and capabilities instead.")
    ] = False,
    since: Annotated[
        str | None, Parameter(help="With --slowest: so long ago (10m, 1h) or RFC 3339; else 1h.")
    ] = None,
    limit: Annotated[
        int | None, Parameter(help="With --slowest: how many of each, at most; else 10.")
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """Show where a session's time and money went: its waterfall, the bottleneck, the cost.

    One line an attempt, queue apart from work; a star marks the critical path. Child sessions stand
    below the steps that started them. --slowest looks at the newest 20,000 events of the server.
    """
    if slowest == (session is not None):
        raise usage("give a session's id, or --slowest", "opscore session ls")
    if not slowest and (since is not None or limit is not None):
        raise usage("--since and --limit go with --slowest")
    if session is not None:
        await _one(session, common)
    else:
        await _slowest(since or "1h", limit or 10, common)


async def _one(session: str, common: Common) -> None:
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        found = await server.get(f"/session/{part(session)}/trace")
    if common.format == "table":
        show(found)
    else:
        print_one(found, lambda _: (), common.format)


async def _slowest(since: str, limit: int, common: Common) -> None:
    from opscore.cli.remote import connect

    async with connect(common) as server:
        found = await server.get("/trace/slowest", since=since, limit=limit)
    print_one(found, _slow_lines, common.format)
    if found.get("truncated"):
        say("older events were not looked at: only the newest 20,000 of the server")


def _slow_lines(found: Any) -> list[str]:
    if not found["targets"]:
        return [f"nothing has run since {plain(found['since'])}"]
    return [*table(found["steps"], _STEPS), "", *table(found["targets"], _CAPABILITIES)]


def _of(kind: str, figure: str) -> Callable[[Row], object]:
    """A figure of the time in queues, or of the time at work."""

    def told(row: Row) -> object:
        return duration(row[kind][f"{figure}Seconds"]) if row.get(kind) else None

    return told


_FIGURES: Columns = [
    ("ATTEMPTS", lambda row: row["work"]["count"] if row.get("work") else 0),
    ("WORK P50", _of("work", "p50")),
    ("P95", _of("work", "p95")),
    ("P99", _of("work", "p99")),
    ("QUEUE P50", _of("queue", "p50")),
    ("P95", _of("queue", "p95")),
    ("P99", _of("queue", "p99")),
]
_STEPS: Columns = [("WORKFLOW", "workflow"), ("STEP", "step"), ("FOR", "target"), *_FIGURES]
_CAPABILITIES: Columns = [("CAPABILITY", "target"), *_FIGURES]
