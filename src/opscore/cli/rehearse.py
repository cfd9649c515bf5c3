"""`opscore workflow test`: a template with mocked agents on a simulated clock, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from opscore.cli import exits
from opscore.cli.exits import Stop
from opscore.cli.output import complain, encode, plain, print_json, print_lines
from opscore.cli.settings import JsonFlag, OutputFormat

if TYPE_CHECKING:
    from opscore.rehearsal import Outcome


def rehearse(
    file: Annotated[str, Parameter(help="A template.")],
    /,
    *,
    mocks: Annotated[str, Parameter(help="The mocks file (its form: docs/testing.md).")],
    output: Annotated[
        OutputFormat, Parameter(name=("--output", "-o"), help="How to print the data.")
    ] = "table",
    as_json: JsonFlag = False,
) -> int:
    """Run a template with mocked agents on a simulated clock; no server is needed.

    The exit code is 0 when every case ended as its `expect` says, else 1.
    """
    found = _played(Path(file), Path(mocks))
    form = "json" if as_json else output
    if form == "json":
        print_json([_row(one) for one in found])
    elif form == "jsonl":
        print_lines(encode(_row(one)) for one in found)
    else:
        print_lines(line for one in found for line in _view(one))
    return exits.ERROR if any(one.mistakes for one in found) else exits.OK


def _played(file: Path, mocks: Path) -> list[Outcome]:
    import structlog

    from opscore.rehearsal import CannotRehearse, rehearse_files
    from opscore.telemetry.logs import configure

    configure("critical")
    try:
        return list(rehearse_files(file, mocks))
    except CannotRehearse as problem:
        complain(*problem.lines)
        raise Stop(exits.ERROR) from None
    finally:
        structlog.reset_defaults()


def _row(found: Outcome) -> dict[str, Any]:
    error = found.error
    return {
        "case": found.name,
        "passed": not found.mistakes,
        "mistakes": list(found.mistakes),
        "status": found.status,
        "waitingFor": found.waiting_for,
        "output": found.output,
        "error": {"class": error.error_class, "message": error.message} if error else None,
        "steps": dict(found.steps),
        "attempts": dict(found.attempts),
        "seconds": found.took / 1_000_000,
    }


def _view(found: Outcome) -> list[str]:
    took = f"{found.took / 1_000_000:,.3f}".rstrip("0").rstrip(".")
    verdict = "failed" if found.mistakes else "passed"
    name = plain(found.name or "the case")
    return [
        f"{verdict}  {name} ({found.status} after {took} simulated seconds)",
        *(f"  {plain(mistake)}" for mistake in found.mistakes),
    ]
