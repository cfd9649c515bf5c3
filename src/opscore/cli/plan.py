"""`opscore workflow plan`: what a template would do, in what order, and at worst how long."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from opscore.cli import exits
from opscore.cli.exits import Stop
from opscore.cli.inputs import payload, read_text
from opscore.cli.output import Columns, complain, encode, fields, print_json, print_lines, table
from opscore.cli.settings import JsonFlag, OutputFormat


def plan(
    file: Annotated[str, Parameter(help="A template, or - for stdin.")],
    /,
    *words: Annotated[str, Parameter(name="KEY=VALUE", help="The input, word by word.")],
    document: Annotated[
        str | None, Parameter(name="--input", help="The input as JSON, @file.json or @-.")
    ] = None,
    output: Annotated[
        OutputFormat, Parameter(name=("--output", "-o"), help="How to print the data.")
    ] = "table",
    as_json: JsonFlag = False,
) -> None:
    """Show what a template would do: order, what runs side by side, worst cases; no server needed.

    With an input, conditions and lists that depend on nothing else are known too.
    """
    given = payload(words, document) if words or document is not None else None
    found = _planned(file, given)
    form = "json" if as_json else output
    if form == "json":
        print_json(found)
    elif form == "jsonl":
        print_lines([encode(found)])
    else:
        print_lines(_view(found))


def _planned(file: str, given: object) -> dict[str, Any]:
    from opscore.planning import Unplannable, plan_file

    try:
        return plan_file(read_text(file), given, file)
    except Unplannable as problem:
        complain(*problem.lines)
        raise Stop(exits.ERROR) from None


def _view(found: dict[str, Any]) -> list[str]:
    whole = fields(
        [
            ("workflow", f"{found['workflow']} {found['version']}"),
            ("attempts", _or_unbounded(found["attempts"])),
            ("at worst", _whole(found)),
            ("longest path", " → ".join(found["longestPath"])),
            *(("limit", limit) for limit in found["limits"]),
        ]
    )
    waves = [f"wave {at}: {', '.join(wave)}" for at, wave in enumerate(found["waves"])]
    reasons = [f"{step['name']}: {why}" for step in found["steps"] for why in step["unbounded"]]
    unbounded = ["", "without a bound, because of", *(f"  {each}" for each in reasons)]
    return [
        *whole,
        "",
        *waves,
        "",
        *table(found["steps"], COLUMNS),
        *(unbounded if reasons else []),
    ]


def _whole(found: dict[str, Any]) -> str:
    bounded = " (the template's timeout)" if found["boundedByTimeout"] else ""
    return _seconds(found["seconds"]) + bounded


def _runs(step: Any) -> str:
    if step["runs"] is None:
        return "yes" if step["if"] is None else f"if {step['if']}"
    return "yes" if step["runs"] else "no"


def _items(step: Any) -> str | None:
    if step["items"] is None:
        return None
    at_once = f", {step['maxParallel']} at once" if step["maxParallel"] else ""
    return f"{step['items']}{at_once}"


def _or_unbounded(number: int | None) -> str:
    return "unbounded" if number is None else str(number)


def _seconds(seconds: float | None) -> str:
    return "unbounded" if seconds is None else f"{seconds:,.3f}".rstrip("0").rstrip(".") + " s"


COLUMNS: Columns = [
    ("WAVE", "wave"),
    ("STEP", "name"),
    ("KIND", "kind"),
    ("TARGET", "target"),
    ("NEEDS", lambda step: ", ".join(step["needs"]) or None),
    ("RUNS", _runs),
    ("ITEMS", _items),
    ("ATTEMPTS", lambda step: _or_unbounded(step["attempts"])),
    ("AT WORST", lambda step: _seconds(step["seconds"])),
]
