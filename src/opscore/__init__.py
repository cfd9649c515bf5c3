"""Ops-Core: the operational backbone for fleets of AI agents.

`async with opscore.open("sqlite:///ops.db") as ops` works on a database in this process, without a
server. What agents and clients import is `opscore.sdk`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opscore.inprocess import open as open  # noqa: A004 - it is called as opscore.open

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`open` brings the engine along; agents, which never call it, start without that."""
    if name == "open":
        from opscore.inprocess import open as opened

        return opened
    raise AttributeError(f"module 'opscore' has no attribute {name!r}")
