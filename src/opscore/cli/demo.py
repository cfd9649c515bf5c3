"""`opscore demo`: the wiring of `opscore.demo.run`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, cast

from cyclopts import Parameter

from opscore.cli.settings import JsonFlag


def demo(
    *,
    path: Annotated[
        Path | None, Parameter(help="Measure this source tree; Python's own library without.")
    ] = None,
    keep: Annotated[
        bool, Parameter(negative=(), help="Keep the server running at the end.")
    ] = False,
    as_json: JsonFlag = False,
) -> int:
    """Watch a fleet of agents do a real job, and lose nothing."""
    main = cast("Callable[[Path | None, bool, bool], int]", import_module("opscore.demo.run").main)
    return main(path, keep, as_json)
