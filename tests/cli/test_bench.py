"""The wiring of `opscore bench`, with measurements of the test's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from opscore.cli import bench, exits
from tests.cli.conftest import Command

MODULE = """
import asyncio

async def main(quick):
    assert quick is True
    await asyncio.sleep(0)
    return {{
        "bench": "{name}", "store": "memory", "unit": "steps/s", "value": 15321.7,
        "p50Ms": 1.25, "p99Ms": 7.5, "rawLimit": 60000, "ratio": 0.255,
        "settings": {{"loop": type(asyncio.get_running_loop()).__module__}}, "version": "0.1.0",
        "figures": [{{"name": "one at a time", "unit": "ms", "value": 2.5}}],
    }}
"""


@pytest.fixture(autouse=True)
def measurements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "benches_of_the_test"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in bench.NAMES:
        (package / f"{name}.py").write_text(MODULE.format(name=name), encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(bench, "PACKAGE", package.name)


def test_one_bench_is_one_object_on_stdout(opscore: Command) -> None:
    ran = opscore("bench", "engine", "--quick", "--json")
    assert ran.code == exits.OK
    assert ran.err == ""
    assert ran.json["bench"] == "engine"
    assert ran.json["value"] == 15321.7
    if sys.platform != "win32":
        assert ran.json["settings"]["loop"] == "uvloop"


def test_all_benches_are_an_object_a_line(opscore: Command) -> None:
    ran = opscore("bench", "all", "--quick", "--json")
    assert [json.loads(line)["bench"] for line in ran.lines] == list(bench.NAMES)
    assert opscore("bench", "--quick", "--json").out == ran.out


def test_figures_for_people(opscore: Command) -> None:
    text = opscore("bench", "wire", "--quick").out
    for words in ("15,322 steps/s", "1.25 ms", "7.50 ms", "60,000", "one at a time", "2.5"):
        assert words in text
