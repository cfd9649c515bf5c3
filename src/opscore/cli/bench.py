"""`opscore bench`: the measurements of `opscore.bench`, by name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Literal, cast

from cyclopts import Parameter

from opscore.api.loop import run_on_loop
from opscore.cli.exits import failure, usage
from opscore.cli.output import Columns, encode, fields, print_json, print_lines, say, table
from opscore.cli.settings import JsonFlag

PACKAGE = "opscore.bench"
NAMES = ("engine", "wire", "http", "fanout", "timers", "idle", "expressions", "logs")
Figures = dict[str, Any]


def bench(
    name: Annotated[
        Literal["engine", "wire", "http", "fanout", "timers", "idle", "expressions", "logs", "all"],
        Parameter(help="Which one."),
    ] = "all",
    /,
    *,
    quick: Annotated[
        bool, Parameter(negative=(), help="A short run: shows that it works.")
    ] = False,
    telemetry: Annotated[
        Literal["off", "metrics", "full"] | None,
        Parameter(help="With engine: what this much costs, against none, in turns."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure; the machine should be doing nothing else.

    `--json` prints one object, and for `all` one object a line. `full` exports one trace in ten to a
    collector on this machine.
    """
    if telemetry is not None and name != "engine":
        raise usage("--telemetry goes with engine", "opscore bench engine --telemetry full")
    for one in NAMES if name == "all" else (name,):
        if not as_json:
            say(f"measuring {one} …")
        figures = _measure(one, quick) if telemetry is None else _costs(quick, telemetry)
        if not as_json:
            print_lines(_view(figures))
        elif name == "all":
            print_lines([encode(figures)])
        else:
            print_json(figures)


def _measure(name: str, quick: bool) -> Figures:
    """Run the measurement on the event loop that a server uses."""
    path = f"{PACKAGE}.{name}"
    if find_spec(PACKAGE) is None or find_spec(path) is None:
        raise failure(f"the measurement {name!r} is not part of this installation")
    main = cast("Callable[[bool], Coroutine[Any, Any, Figures]]", import_module(path).main)
    return run_on_loop(main(quick))


def _costs(quick: bool, telemetry: Literal["off", "metrics", "full"]) -> Figures:
    """What telemetry costs the engine."""
    from opscore.bench.telemetry import main

    return run_on_loop(main(quick, telemetry))


def _view(figures: Figures) -> list[str]:
    shown = fields(
        [
            ("bench", figures.get("bench")),
            ("value", f"{_number(figures.get('value'))} {figures.get('unit', '')}"),
            ("p50", _milliseconds(figures.get("p50Ms"))),
            ("p99", _milliseconds(figures.get("p99Ms"))),
            ("raw limit", _number(figures.get("rawLimit"))),
            ("ratio", _number(figures.get("ratio"))),
            ("store", figures.get("store")),
            ("settings", figures.get("settings") or None),
            ("version", figures.get("version")),
        ]
    )
    if more := figures.get("figures"):
        shown += ["", *table(more, _FIGURES)]
    return [*shown, ""]


def _number(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def _milliseconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f} ms"


_FIGURES: Columns = [
    ("FIGURE", "name"),
    ("VALUE", lambda row: _number(row.get("value"))),
    ("UNIT", "unit"),
]
