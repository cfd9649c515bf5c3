"""`opscore debug …`: a session in one file, to be looked at elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from opscore.cli import bundle as bundles
from opscore.cli import session_screen
from opscore.cli.app import noun
from opscore.cli.exits import failure
from opscore.cli.log import record_line
from opscore.cli.output import fields, plain, print_json, print_lines, say
from opscore.cli.screen import heading
from opscore.cli.settings import DEFAULTS, Common, OutputFormat
from opscore.cli.waterfall import show

app = noun("debug", "Debug bundles: a session in one file, readable on another machine.")

RECORDS_SHOWN = 40


@app.command
async def bundle(
    session: Annotated[str, Parameter(help="The session's id.")],
    /,
    *,
    file: Annotated[
        Path | None,
        Parameter(name=("--file", "-f"), help="Where to; else opscore-SESSION.zip, here."),
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """Put a session in one file: template, history, tasks, logs, trace, agents; secrets removed.

    What stands under a name such as apiKey or password is struck out, wherever else it occurs too,
    and so is what looks like a key. Inputs and outputs are in it: look at it before you send it.
    """
    from opscore.cli.nextup import command
    from opscore.cli.remote import connect
    from opscore.sdk.server import Server

    target = file or Path(f"opscore-{re.sub(r'[^A-Za-z0-9_.-]', '_', session)}.zip")
    key = Server.resolve(common.url, common.api_key, common.namespace).api_key
    async with connect(common) as server:
        parts = await bundles.gathered(server, session, (key,) if key else ())
    bundles.write(target, parts)
    for name, why in parts["manifest"]["missing"].items():
        say(f"without {name}: {why}")
    if common.format == "table":
        print_lines([str(target)])
        say(f"look at it, anywhere: {command('debug open', str(target))}")
    else:
        print_json({"file": str(target), "manifest": parts["manifest"]})


@app.command(name="open")
def open_bundle(
    file: Annotated[Path, Parameter(help="A file that `debug bundle` made.")],
    /,
    *,
    output: Annotated[
        OutputFormat, Parameter(name=("--output", "-o"), help="How to print the data.")
    ] = "table",
    as_json: Annotated[
        bool, Parameter(name="--json", negative=(), help="The same as -o json.")
    ] = False,
) -> None:
    """Show a debug bundle: what failed, the waterfall, the last log records. No server is needed.

    -o json prints all of it as one document.
    """
    parts = bundles.read(file)
    if as_json or output != "table":
        print_json(parts)
        return
    try:
        print_lines(_head(parts))
        if "trace" in parts:
            print_lines([""])
            show(parts["trace"])
        print_lines(_tail(parts))
    except (LookupError, TypeError, AttributeError, ValueError) as problem:
        raise failure(f"{file} is damaged", f"a part has another form: {problem!r}") from None


def _head(parts: Any) -> Iterator[str]:
    manifest = parts["manifest"]
    made = f"{manifest['madeAt']} by {manifest['madeBy']}"
    missing = ", ".join(f"{name} ({why})" for name, why in manifest["missing"].items())
    yield from fields([("bundle made", made), ("without", missing or None)])
    yield ""
    failed = [one for one in parts.get("failed", []) if one["status"] == "failed"]
    records = parts.get("logs", [])
    loud = [one for one in records if one["level"] in {"warning", "error", "critical"}]
    reading = session_screen.Reading(
        session=parts["session"],
        failed=failed[: session_screen.FAILED_SHOWN],
        records={"records": loud},
        why=parts.get("why", ""),
    )
    yield from session_screen.about(reading)


def _tail(parts: Any) -> Iterator[str]:
    records = parts.get("logs", [])[:RECORDS_SHOWN][::-1]
    lines = [f"  {record_line({**one, 'sessionId': None})}" for one in records]
    yield from heading("log, the last records", lines)
    counts = ((name, len(parts[name])) for name in ("history", "tasks", "logs") if name in parts)
    told = ", ".join(f"{count} in {plain(name)}" for name, count in counts)
    yield from ("", f"-o json has all of it: {told}")
