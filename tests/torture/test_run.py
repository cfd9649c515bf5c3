"""The programme as a whole, and one layer of real processes in a small dose."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.hurting import LAYERS, layer
from tests.torture.mutate import mutants
from tests.torture.run import FULL, Row, ci, commands, table


def test_every_layer_has_a_dose() -> None:
    for dose in (ci(0), FULL):
        layers = [name for name, _, _ in commands(dose, 1)]
        assert layers[:3] == ["deterministic simulation", "mutants", "model and stores in step"]
        assert layers[3:] == [*LAYERS]


def test_three_days_try_every_mutant() -> None:
    names = [mutant.name for mutant in mutants()]
    tried = [name for day in (6, 7, 8) for name in names[ci(day).third :: 3]]
    assert sorted(tried) == names


def test_the_table_is_loud_about_what_was_not_tested() -> None:
    said = "SKIPPED, partitions WAS NOT TESTED: no rights"
    rows = [Row("kills", "15 cycles", False, "2 violations", 3.2)]
    rows.append(Row("partitions", "2 cycles", True, said, 0.1))
    assert table(rows).splitlines()[2:] == [
        "| kills | 15 cycles | FAILED | 3 s | 2 violations |",
        f"| partitions | 2 cycles | SKIPPED | 0 s | {said} |",
    ]


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_kills_lose_nothing(tmp_path: Path) -> None:
    said, violations = layer("kills", 2, 7, tmp_path)
    assert violations == []
    assert "killed" in said
