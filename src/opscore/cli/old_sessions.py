"""Deleting what ended long ago, a page at a time, each session by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from opscore.cli.exits import ERROR, OK, Stop, usage
from opscore.cli.output import complain, print_json, print_lines, say
from opscore.cli.settings import Common
from opscore.cli.times import moment, seconds_of

if TYPE_CHECKING:
    from opscore.cli.remote import Remote

ENDED = ("completed", "error", "cancelled")
PAGE = 500


async def remove_old(common: Common, age: str, workflow: str | None, *, dry_run: bool) -> int:
    """Delete the sessions that ended longer ago than `age` by the server's clock.

    The exit code says whether all of them could be deleted. Raises `Stop`.
    """
    from opscore.cli.remote import connect

    seconds = seconds_of("--older-than", age)
    found: list[str] = []
    kept: list[tuple[str, str]] = []
    async with connect(common) as server:
        before = _before(await server.clock() or datetime.now(UTC), seconds)
        async for session in _ended(server, before, workflow):
            found.append(session)
            why = None if dry_run else await _delete(server, session)
            if why is not None:
                kept.append((session, why))
    _tell(common, found, kept, age, dry_run=dry_run)
    return ERROR if kept else OK


def _before(now: datetime, seconds: float) -> datetime:
    try:
        return now.astimezone(UTC) - timedelta(seconds=seconds)
    except OverflowError:
        raise usage("--older-than reaches back before all time", "for example 30d") from None


async def _ended(server: Remote, before: datetime, workflow: str | None) -> AsyncGenerator[str]:
    """What ended before a time. `until` only narrows: it is about when sessions were created."""
    until = before.isoformat().replace("+00:00", "Z")
    for status in ENDED:
        asked: dict[str, Any] = {"status": status, "workflow": workflow, "until": until}
        cursor: str | None = None
        while True:
            page = await server.get("/session", **asked, cursor=cursor, limit=PAGE)
            for row in page["sessions"]:
                if moment(row["finishedAt"]) < before.timestamp():
                    yield row["sessionId"]
            cursor = page.get("nextCursor")
            if not cursor:
                break


async def _delete(server: Remote, session: str) -> str | None:
    """Why it could not be deleted: it may be open again meanwhile."""
    from opscore.cli.remote import Unreachable, part

    try:
        await server.delete(f"/session/{part(session)}")
    except Unreachable:
        raise
    except Stop as refusal:
        return refusal.lines[0].removeprefix("error: ")
    return None


def _tell(
    common: Common, found: list[str], kept: list[tuple[str, str]], age: str, *, dry_run: bool
) -> None:
    deleted = 0 if dry_run else len(found) - len(kept)
    if common.format != "table":
        refused = [{"id": session, "detail": why} for session, why in kept]
        told = {"dryRun": dry_run, "matched": len(found), "deleted": deleted}
        print_json({**told, "ids": found, "refused": refused})
        return
    if dry_run:
        print_lines(found)
        say(f"{len(found)} sessions ended more than {age} ago; nothing was changed (--dry-run)")
        return
    say(f"{deleted} of {len(found)} sessions deleted that ended more than {age} ago")
    for session, why in kept:
        complain(f"  {session}: {why}")
