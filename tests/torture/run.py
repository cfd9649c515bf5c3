"""The programme of faults: every layer in its dose, and a table of what came of it.

    python -m tests.torture.run --dose ci      minutes on a machine that does nothing else
    python -m tests.torture.run --dose full    hours: `make torture`

What could not be tested on this machine is said loudly, and is no success of that layer.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.torture.checker import ROOT

DAY = 86_400


@dataclass(frozen=True)
class Dose:
    """How much of everything. `third`: of the mutants, only this one of three parts."""

    simulation: Sequence[str]
    third: int | None
    model: tuple[int, int]
    kills: int
    zombies: int
    partitions: int
    disk: int


def ci(day: int) -> Dose:
    """A few minutes; a third of the mutants, another one each day."""
    return Dose(
        ("--seconds", "120", "--least", "300", "--seeds", "1000000", "--jobs", "2"),
        *(day % 3, (200, 30), 15, 2, 2, 2),
    )


FULL = Dose(("--seeds", "50000", "--jobs", "2"), None, (10_000, 50), 2_000, 100, 100, 50)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    layer: str
    dose: str
    passed: bool
    said: str
    seconds: float


def commands(dose: Dose, first: int) -> list[tuple[str, str, list[str]]]:
    """Layer, dose, and the command that carries it out."""
    examples, steps = dose.model
    third = [] if dose.third is None else ["--third", str(dose.third)]
    hurting = ["-m", "tests.torture.hurting"]
    stateful = ["-m", "pytest", "-q", "tests/model/test_in_step.py"]
    return [
        (
            "deterministic simulation",
            f"{dose.simulation[1]} {dose.simulation[0][2:]}",
            ["-m", "tests.torture.simulate", *dose.simulation, "--from", str(first)],
        ),
        (
            "mutants",
            "all" if dose.third is None else f"third {dose.third + 1} of 3",
            ["-m", "tests.torture.mutate", *third],
        ),
        ("model and stores in step", f"{examples} × {steps}", stateful),
        *(
            (layer, f"{cycles} cycles", [*hurting, layer, "--cycles", str(cycles)])
            for layer, cycles in (
                *(("kills", dose.kills), ("zombies", dose.zombies)),
                *(("partitions", dose.partitions), ("disk", dose.disk)),
            )
        ),
    ]


def carry_out(layer: str, dose: str, command: list[str], environment: dict[str, str]) -> Row:
    """Run one layer; what it says is passed on, its last telling line goes into the table."""
    print(f"\n== {layer}: {dose}", flush=True)
    began = time.monotonic()
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.strip())
    loud = next((line for line in lines if line.startswith("SKIPPED")), None)
    said = loud or next((each for each in reversed(lines) if _TELLING.search(each)), "nothing")
    return Row(layer, dose, process.returncode == 0, said, time.monotonic() - began)


_TELLING = re.compile(r"\d+ (seeds|of \d+ mutants|cycles|passed|failed)")


def table(rows: Sequence[Row]) -> str:
    """All of it, in Markdown."""
    lines = ["| layer | dose | | time | what came of it |", "|---|---|---|---|---|"]
    for row in rows:
        word = "ok" if row.passed else "FAILED"
        if row.said.startswith("SKIPPED"):
            word = "SKIPPED"
        lines.append(f"| {row.layer} | {row.dose} | {word} | {row.seconds:.0f} s | {row.said} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Carry out the programme of faults.")
    parser.add_argument("--dose", choices=("ci", "full"), default="full")
    parser.add_argument("--from", dest="first", type=int, help="the simulation's first seed")
    given = parser.parse_args()
    day = int(time.time()) // DAY
    dose = ci(day) if given.dose == "ci" else FULL
    first = given.first if given.first is not None else day * 100_000
    examples, steps = dose.model
    environment = {**os.environ, "OPSCORE_IN_STEP": f"{examples}x{steps}"}
    rows = [carry_out(*each, environment) for each in commands(dose, first)]
    print(f"\n{table(rows)}")
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
