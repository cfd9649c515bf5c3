"""`opscore usage`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from opscore.cli.output import Columns, plain, print_one, say, table
from opscore.cli.settings import DEFAULTS, Common
from opscore.cli.spending import cost


async def usage(
    *,
    by: Annotated[
        Literal["agent", "capability", "day", "workflow"], Parameter(help="How to sum up.")
    ] = "capability",
    since: Annotated[str, Parameter(help="So long ago (1h, 7d) or RFC 3339.")] = "1d",
    common: Common = DEFAULTS,
) -> None:
    """Sum up tokens and cost, and what of it was spent on attempts that failed.

    By what agents told with their outcomes, of the newest 200,000 events of the server.
    """
    from opscore.cli.remote import connect

    async with connect(common) as server:
        found = await server.get("/usage", by=by, since=since)
    print_one(found, _lines, common.format)
    if found.get("truncated"):
        say("older events were not looked at: only the newest 200,000 of the server")


def _lines(found: Any) -> list[str]:
    groups = found["groups"]
    if not groups:
        return [f"no attempt since {plain(found['since'])} told what it spent"]
    return table(groups, [(plain(found["by"]).upper(), "name"), *_FIGURES])


_FIGURES: Columns = [
    ("COST", lambda row: cost(row["total"])),
    ("WASTED", lambda row: cost(row["wasted"])),
    ("TOKENS IN", lambda row: row["total"]["inputTokens"]),
    ("OUT", lambda row: row["total"]["outputTokens"]),
    ("ATTEMPTS", lambda row: row["total"]["attempts"]),
    ("MODELS", lambda row: ", ".join(row["total"]["models"]) or None),
]
