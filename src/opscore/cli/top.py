"""`opscore top`: the operator's terminal."""

from __future__ import annotations

import sys
from importlib import util
from typing import Annotated

from cyclopts import Parameter

from opscore.cli.exits import failure, usage
from opscore.cli.settings import DEFAULTS, Common

INSTALL = "-m pip install 'textual>=8.0'"
"""What the extra `tui` asks for, in words that work in a checkout as well."""


async def top(
    *,
    interval: Annotated[float, Parameter(help="Ask the server every so many seconds.")] = 1.0,
    common: Common = DEFAULTS,
) -> None:
    """See agents, sessions, queues and the log live; drain and cancel from there.

    It needs a terminal and Textual (the extra `tui` of ops-core). `?` shows its keys. It goes on
    over a restart of the server.
    """
    if common.format != "table":
        raise usage("top is a screen and has no -o", "opscore event -f -o jsonl follows as data")
    if interval <= 0:
        raise usage("--interval is more than 0")
    if util.find_spec("textual") is None:
        hint = f"install it: {sys.executable} {INSTALL}   (or: pip install 'ops-core[tui]')"
        raise failure("opscore top needs Textual, which is not installed", hint)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise usage("opscore top needs a terminal", "opscore event -f follows without one")
    from opscore.cli.remote import connect
    from opscore.cli.terminal.app import Top

    async with connect(common) as server:
        where = f"{common.url}  {common.namespace or 'default'}"
        await Top(server, where, interval=interval).run_async()
