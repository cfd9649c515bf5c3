"""`opscore doctor`: is everything here as it should be, and if not, what to do."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from opscore.cli import exits
from opscore.cli.exits import Stop
from opscore.cli.output import paint, plain, print_json, print_lines, print_list
from opscore.cli.settings import DEFAULT_DATABASE, DEFAULT_URL, DEFAULTS, Common, DatabaseUrl

if TYPE_CHECKING:
    from opscore.cli.checks import Finding


async def doctor(*, database_url: DatabaseUrl = DEFAULT_DATABASE, common: Common = DEFAULTS) -> int:
    """Examine this machine, the database and the server.

    The database is only read, also while a server uses it. Exit code 1 when something fails.
    """
    findings: list[Finding] = []
    async for finding in _examine(database_url, common):
        findings.append(finding)
        if common.format == "table":
            print_lines(_lines(finding))
    report = [finding.as_json() for finding in findings]
    if common.format == "jsonl":
        print_list(report, [], "jsonl")
    if common.format == "json":
        print_json(report)
    failed = any(finding.level == "fail" for finding in findings)
    return exits.ERROR if failed else exits.OK


async def _examine(database_url: str, common: Common) -> AsyncGenerator[Finding]:
    from opscore.cli.check_database import database, folder_of
    from opscore.cli.checks import machine

    for finding in machine(folder_of(database_url)):
        yield finding
    for finding in database(database_url, datetime.now(UTC)):
        yield finding
    yield await _server(common)


async def _server(common: Common) -> Finding:
    from opscore.cli.checks import fail, ok, warn
    from opscore.cli.remote import Unreachable, connect

    try:
        async with connect(common) as server:
            health = await server.get("//health")
            await server.get("/agent", limit=1)
    except Unreachable as problem:
        found, todo = f"nobody answers at {common.url}", "start one: opscore dev"
        # A server that was named should be there; the default one may just not be started yet.
        named = common.url.rstrip("/") != DEFAULT_URL
        return fail("server", str(problem), todo) if named else warn("server", found, todo)
    except Stop as refusal:
        lines = [line.strip().removeprefix("error: ") for line in refusal.lines]
        return fail("server", f"{common.url}: {lines[0]}", "; ".join(lines[1:]) or "see its log")
    return ok("server", f"{common.url} answers, version {health.get('version', 'unknown')}")


def _lines(finding: Finding) -> list[str]:
    word = paint(f"{finding.level:<4}")
    lines = [f"{word}  {finding.check:<16}{plain(finding.found)}"]
    return [*lines, f"      {'':<16}→ {plain(finding.todo)}"] if finding.todo else lines
