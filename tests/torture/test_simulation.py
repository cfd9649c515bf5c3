"""The simulation repeats itself from a seed, and a few seeds go well; `make torture` does many."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.torture.checker import ROOT


def simulated(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the simulation as anybody would, without the fixed hashes that it gives itself."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONHASHSEED"}
    command = [sys.executable, "-m", "tests.torture.simulate", *words]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def traces(said: str) -> list[str]:
    return re.findall(r"seed \d+: [0-9a-f]{16}", said)


def test_the_same_seed_takes_the_same_course() -> None:
    first, again = (simulated("--seeds", "6", "--from", "7", "--trace") for _ in range(2))
    assert first.returncode == 0, first.stdout + first.stderr
    assert len(traces(first.stdout)) == len(set(traces(first.stdout))) == 6
    assert traces(first.stdout) == traces(again.stdout)


def test_it_says_how_many_await_points_were_reached() -> None:
    ran = simulated("--seeds", "4", "--jobs", "2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"killed at [1-9]\d* of \d{3} await points \(\d+ %\)", ran.stdout)
    assert "4 seeds" in ran.stdout
