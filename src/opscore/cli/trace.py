"""`opscore trace …`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from opscore.cli.output import print_one
from opscore.cli.settings import DEFAULTS, Common
from opscore.cli.waterfall import show


async def trace(
    session: Annotated[str, Parameter(help="The session's id.")],
    /,
    *,
    common: Common = DEFAULTS,
) -> None:
    """Show where a session's time and money went: its waterfall, the bottleneck, the cost.

    One line an attempt, queue apart from work; a star marks the critical path. Child sessions stand
    below the steps that started them.
    """
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        found = await server.get(f"/session/{part(session)}/trace")
    if common.format == "table":
        show(found)
    else:
        print_one(found, lambda _: (), common.format)
