"""Mutants fit the source as it is, and one of them is caught here; `make torture` tries them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.checker import ROOT
from tests.torture.mutate import Mutant, Stale, copied, mutants, read, try_out

NAMES = [mutant.name for mutant in mutants()]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    copied(root)
    return root


def test_there_are_enough() -> None:
    assert len(NAMES) >= 15


@pytest.mark.parametrize("name", NAMES)
def test_a_mutant_fits_the_source(name: str, tree: Path) -> None:
    (mutant,) = mutants([name])
    mutant.apply(tree)
    for file, _, _ in mutant.changes:
        changed = (tree / file).read_text(encoding="utf-8")
        assert changed != (ROOT / file).read_text(encoding="utf-8")
        compile(changed, file, "exec")
        (tree / file).write_text(_before(file), encoding="utf-8")


def _before(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def test_a_stale_mutant_is_told_and_changes_nothing(tree: Path) -> None:
    stale = Mutant("old", "", [("src/opscore/core/task.py", "no such line\n", "")])
    with pytest.raises(Stale, match=r"mutants/old\.txt up to date"):
        stale.apply(tree)
    assert (tree / "src/opscore/core/task.py").read_text() == _before("src/opscore/core/task.py")


def test_a_text_that_changes_nothing_is_no_mutant(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("It breaks nothing.\n\n@@ src/opscore/core/task.py\n")
    with pytest.raises(Stale):
        read(tmp_path / "empty.txt")


def test_a_mutant_is_caught() -> None:
    (mutant,) = mutants(["no_fence"])
    trial = try_out(mutant)
    assert trial.caught, trial.said
    assert "verdicts_are_true" in trial.said or "graph_is_kept" in trial.said
