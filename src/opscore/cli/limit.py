"""`opscore limit …`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from opscore.cli.app import noun
from opscore.cli.output import Columns, print_list
from opscore.cli.settings import DEFAULTS, Common

HOLDERS_SHOWN = 3

app = noun("limit", "Limits: concurrency and rate keys in use.")


@app.command
async def ls(
    *,
    limit: Annotated[int, Parameter(help="At most this many.")] = 100,
    common: Common = DEFAULTS,
) -> None:
    """List the keys in use: limit, in use, by whom, how many wait."""
    from opscore.cli.remote import connect

    async with connect(common) as server:
        found = await server.listing("/limit", "limits", limit)
    print_list(found, _LIST, common.format)


def _bound(row: Any) -> str:
    per = row.get("perSeconds")
    return str(row["limit"]) if per is None else f"{row['limit']} per {per:g}s"


def _holders(row: Any) -> str | None:
    holders = [f"{task} attempt {attempt}" for task, attempt in row.get("holders", [])]
    holders += row.get("sessions", [])
    said = ", ".join(holders[:HOLDERS_SHOWN])
    more = len(holders) - HOLDERS_SHOWN
    return (f"{said} and {more} more" if more > 0 else said) or None


_LIST: Columns = [
    ("KIND", "kind"),
    ("KEY", "key"),
    ("LIMIT", _bound),
    ("IN USE", "inUse"),
    ("WAITING", "waiting"),
    ("HELD BY", _holders),
    ("OPENS", "opensAt"),
]
