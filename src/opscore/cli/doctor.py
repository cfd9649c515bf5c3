"""`opscore doctor`: is everything here as it should be, and if not, what to do."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from opscore import __version__
from opscore.cli import exits, nextup
from opscore.cli.configuration import configuration, unknown_variables
from opscore.cli.exits import Stop
from opscore.cli.output import paint, plain, print_json, print_lines, print_list
from opscore.cli.settings import (
    DATABASE,
    DEFAULT_URL,
    DEFAULTS,
    Common,
    template_env,
    usual_database,
)

if TYPE_CHECKING:
    from opscore.cli.checks import Finding
    from opscore.cli.configuration import Setting
    from opscore.cli.remote import Remote


async def doctor(
    *, database_url: Annotated[str | None, DATABASE] = None, common: Common = DEFAULTS
) -> int:
    """Examine this machine, the database, the configuration and the server.

    Every setting is told with its value and where that comes from (flag, variable, file, default),
    as this shell and directory have it; secrets are not told.
    Without --database-url: ops.db or, when there is none, the database of `opscore dev`. It is
    only read, also while a server uses it. Exit code 1 when something fails.
    """
    findings: list[Finding] = []
    async for finding in _examine(database_url or usual_database(), common):
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
    from opscore.cli import checks
    from opscore.core.errors import StoreRefused
    from opscore.store.examine import path_of, sqlite_version

    yield checks.sqlite(sqlite_version())
    try:
        path = path_of(database_url)
    except StoreRefused as refusal:
        path = None
        yield checks.fail("database", str(refusal), checks.CHOOSE)
    for finding in checks.machine(path.parent if path else Path()):
        yield finding
    if path:
        for finding in _database(path):
            yield finding
    yield checks.template_env(template_env(os.environ.get("OPSCORE_TEMPLATE_ENV", "")))
    found = configuration(nextup.words.get())
    for finding in checks.settings(found, unknown_variables()):
        yield finding
    server, version = await _server(common)
    yield server
    yield _port(found, common.url, answers=version is not None)
    if server.level == "ok":
        yield checks.versions(__version__, version or "unknown")
        for finding in await _told(common):
            yield finding


def _database(path: Path) -> Iterator[Finding]:
    from opscore.cli import checks
    from opscore.store.examine import examine

    if not path.exists():
        yield checks.ok("database", f"{path} is not there yet; the first server makes it")
        return
    seen = examine(path)
    used = "in use by a server" if seen.in_use else "not in use"
    yield checks.ok("database", f"{path}: {checks.size(seen.size)}, {used}")
    yield checks.written(seen.written_at, datetime.now(UTC))
    yield checks.wal(seen.wal_size)
    yield checks.log_file(path)
    yield checks.schema(seen.schema, seen.known_schema, seen.damage)
    if seen.schema is not None:
        yield checks.integrity(seen.check, seen.damage)
    if seen.counts:
        text = ", ".join(f"{count} {name}" for name, count in seen.counts.items())
        yield checks.ok("content", text)


def _port(found: list[Setting], url: str, *, answers: bool) -> Finding:
    """The port that a server started here would take."""
    from opscore.cli.checks import port

    values = {one.name: one.value for one in found}
    return port(values["host"], values["port"], urlsplit(url).port if answers else None)


async def _server(common: Common) -> tuple[Finding, str | None]:
    """How it is, and its version when it answers."""
    from opscore.cli.checks import fail, ok, warn
    from opscore.cli.remote import Unreachable, connect

    try:
        async with connect(common) as server:
            described = await server.get("//openapi.json")
            await server.get("/agent", limit=1)
    except Unreachable as problem:
        found, todo = f"nobody answers at {common.url}", "start one: opscore dev"
        # A server that was named should be there; the default one may just not be started yet.
        named = common.url.rstrip("/") != DEFAULT_URL
        return (fail("server", str(problem), todo) if named else warn("server", found, todo)), None
    except Stop as refusal:
        lines = [line.strip().removeprefix("error: ") for line in refusal.lines]
        todo = "; ".join(lines[1:]) or "see its log"
        return fail("server", f"{common.url}: {lines[0]}", todo), ""
    version = described.get("info", {}).get("version", "unknown")
    return ok("server", f"{common.url} answers, version {version}"), version


async def _clock(server: Remote) -> datetime | None:
    """What time it is there; None when it does not say."""
    try:
        return await server.clock()
    except Stop:
        return None


async def _told(common: Common) -> list[Finding]:
    """What the server that answers says of its clock, AgentKit, its audit and its log records."""
    from opscore.cli.checks import skew
    from opscore.cli.remote import connect

    try:
        async with connect(common) as server:
            ready = await server.get("//ready")
            at = await _clock(server)
    except Stop:
        return []
    found = [skew(at, datetime.now(UTC))] if at is not None else []
    return found + [
        find(ready[name])
        for name, find in (
            *(("agentkit", _agentkit), ("audit", _audit), ("logs", _logs)),
            *(("export", _export), ("callbacks", _callbacks), ("hooks", _hooks)),
        )
        if ready.get(name)
    ]


def _audit(told: Any) -> Finding:
    """How the checkpoints of the audit stand."""
    from opscore.cli.checks import ok, warn

    at = told["checkpointAt"] or "never"
    if told["problem"] is None:
        return ok("audit", f"last checkpoint {at}")
    found = f"no checkpoint: {told['problem']}; the last one: {at}"
    return warn("audit", found, "see OPSCORE_AUDIT_CHECKPOINT in docs/operations.md")


def _logs(told: Any) -> Finding:
    """How the log store is."""
    from opscore.cli.checks import ok, warn

    dropped = told["dropped"]
    if told["problem"] is not None:
        todo = "free some disk, or move the damaged file away; the server goes on by itself"
        return warn("logs", told["problem"], todo)
    if dropped:
        return warn(
            "logs", f"{dropped} records were dropped", "they came faster than they are kept"
        )
    return ok("logs", "every record was kept")


def _export(told: Any) -> Finding:
    """How the collector of spans is."""
    from opscore.cli.checks import ok, warn

    lost = f"{told['waiting']} sessions wait, {told['dropped']} were not exported"
    if told["problem"] is not None:
        todo = "start the collector, or correct OPSCORE_OTLP_ENDPOINT; it is tried again by itself"
        return warn("export", f"{told['endpoint']}: {told['problem']}; {lost}", todo)
    if told["dropped"]:
        return warn("export", lost, "export fewer: OPSCORE_OTLP_SAMPLE")
    return ok("export", f"spans go to {told['endpoint']}")


def _callbacks(told: Any) -> Finding:
    """How the receivers of callbacks are."""
    from opscore.cli.checks import ok, warn

    waiting = f"{told['waiting']} callbacks wait"
    if told["problem"] is not None:
        todo = "opscore log --grep callback; a session's own state is in `opscore session show`"
        return warn("callbacks", f"{told['problem']}; {waiting}", todo)
    return ok("callbacks", waiting)


def _hooks(told: Any) -> Finding:
    """How the hooks of a program that embeds the engine are."""
    from opscore.cli.checks import ok, warn

    if told["problem"] is not None:
        todo = "opscore log --grep hook_failed says with what; the engine goes on"
        return warn("hooks", told["problem"], todo)
    return ok("hooks", "none failed the last time it was called")


def _agentkit(told: Any) -> Finding:
    """How AgentKit stands."""
    from opscore.cli.checks import ok, warn

    if told["reachable"]:
        return ok("agentkit", f"{told['url']} answers")
    age = told["ageSeconds"]
    since = "it never answered" if age is None else f"it last answered {age:.0f} seconds ago"
    found = f"{told['url']}: {told['error']}; {since}. Ops-Core works on with what it knows"
    return warn("agentkit", found, "start AgentKit, or correct OPSCORE_AGENTKIT_URL")


def _lines(finding: Finding) -> list[str]:
    word = paint(f"{finding.level:<4}")
    origin = f"  (from {finding.origin})" if finding.origin else ""
    lines = [f"{word}  {finding.check:<16} {plain(finding.found)}{plain(origin)}"]
    return [*lines, f"      {'':<17}→ {plain(finding.todo)}"] if finding.todo else lines
