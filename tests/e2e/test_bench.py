"""Every measurement runs, ends by itself, and gives figures that can be true."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from opscore import __version__
from opscore.cli.bench import NAMES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

UNITS = {
    "engine": "steps/s",
    "wire": "sessions/s",
    "http": "tasks/s",
    "fanout": "s",
    "idle": "MB",
    "expressions": "evaluations/s",
    "timers": "ms late (p99)",
    "logs": "ms for a page (slowest filter, p99)",
}
FSYNC = {"logs": "normal", "expressions": None}
WITHOUT_STORE = {"expressions"}
# What was started, and what was completed or recorded.
COUNTS = {
    "engine": [],
    "wire": [("sessions started", "sessions completed")],
    "http": [
        ("three calls each, tasks started", "three calls each, tasks recorded"),
        ("batches of 100, tasks started", "batches of 100, tasks recorded"),
    ],
    "fanout": [("tasks expected", "tasks completed")],
    "idle": [("agents expected", "agents connected")],
    "expressions": [],
    "timers": [],
    "logs": [("records", "records found")],
}


def measured(name: str, folder: Path) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "opscore.cli", "bench", name, "--quick", "--json"],
        capture_output=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "TMPDIR": str(folder),
        },
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return msgspec.json.decode(ran.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_a_measurement_is_complete_and_plausible(name: str, tmp_path: Path) -> None:
    found = measured(name, tmp_path)
    store = None if name in WITHOUT_STORE else "sqlite"
    assert (found["bench"], found["store"], found["unit"]) == (name, store, UNITS[name])
    assert found["version"] == __version__
    assert found["value"] > 0
    assert found["settings"].get("fsync") == FSYNC.get(name, "full")
    assert (found["rawLimit"] is None) == (found["ratio"] is None)
    assert (found["rawLimit"] is None) == (name in {"idle", "timers", "logs", *WITHOUT_STORE})
    figures = {one["name"]: one["value"] for one in found["figures"]}
    assert all(set(one) == {"name", "unit", "value"} for one in found["figures"])
    for started, ended in COUNTS[name]:
        assert figures[started] == figures[ended] > 0
    if found["p50Ms"] is not None:
        assert 0 < found["p50Ms"] <= found["p99Ms"]
    assert not list(tmp_path.iterdir())
    assert not [line for line in _processes() if str(tmp_path) in line]


def _processes() -> list[str]:
    """The command lines of all processes; a server's names its database."""
    listing = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, check=True)
    return listing.stdout.decode(errors="replace").splitlines()
