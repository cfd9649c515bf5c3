"""Mutants: the product with one promise broken. The simulation must find out about each of them.

    python -m tests.torture.mutate            all of them
    python -m tests.torture.mutate no_fence   these
    python -m tests.torture.mutate --third 2  one third, by number

A mutant is a text in `mutants/`: what is broken, and in which file which lines stand in the place of
which. Each runs in a copy of the source, until the checker finds a violation or 500 seeds are over.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.torture.checker import ROOT

FOLDER = Path(__file__).parent / "mutants"
SEEDS = 500
_CHANGE = re.compile(
    r"^@@ (?P<file>\S+)\n-- instead of --\n(?P<old>.*?)^-- there stands --\n(?P<new>.*?)^-- end --\n",
    re.MULTILINE | re.DOTALL,
)


class Stale(Exception):
    """A mutant does not fit the source any more; the text says which and where."""


@dataclass(frozen=True)
class Mutant:
    """`changes` are (file, what stands there, what stands there instead)."""

    name: str
    what: str
    changes: Sequence[tuple[str, str, str]]

    def apply(self, root: Path) -> None:
        """Change the source below `root`. Raises Stale."""
        for file, old, new in self.changes:
            path = root / file
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            if text.count(old) != 1:
                raise Stale(
                    f"mutant {self.name}: {file} has {text.count(old)} times what it replaces; "
                    f"bring tests/torture/mutants/{self.name}.txt up to date:\n{old}"
                )
            path.write_text(text.replace(old, new), encoding="utf-8")


def read(path: Path) -> Mutant:
    """One mutant from its text. Raises Stale when it says nothing that could be done."""
    text = path.read_text(encoding="utf-8")
    changes = [(m["file"], m["old"], m["new"]) for m in _CHANGE.finditer(text)]
    if not changes or text.count("\n@@ ") != len(changes):
        raise Stale(f"mutant {path.stem}: not every change reads as one")
    return Mutant(path.stem, text.partition("\n")[0], changes)


def mutants(names: Sequence[str] = ()) -> list[Mutant]:
    """Those of these names, or all."""
    paths = sorted(FOLDER.glob("*.txt"))
    unknown = {*names} - {path.stem for path in paths}
    if unknown:
        raise Stale(f"there is no mutant {', '.join(sorted(unknown))}")
    return [read(path) for path in paths if not names or path.stem in names]


@dataclass(frozen=True)
class Trial:
    """What came of one mutant. `seed`: the first at which it was caught, None when it was not."""

    mutant: Mutant
    seed: int | None
    said: str
    seconds: float

    @property
    def caught(self) -> bool:
        return self.seed is not None

    def __str__(self) -> str:
        how = self.said if self.caught else f"NOT CAUGHT in {SEEDS} seeds: {self.said}"
        return f"{self.mutant.name:26} {self.seconds:5.0f} s  {how[:150]}"


def copied(to: Path) -> None:
    """As much of the tree as the simulation needs."""
    for folder in ("src", "tests/torture"):
        caches = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, to / folder, ignore=caches)


def try_out(mutant: Mutant, seeds: int = SEEDS) -> Trial:
    """Simulate a mutant until it is caught."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        root = Path(directory)
        copied(root)
        mutant.apply(root)
        environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "tests.torture.simulate"),
                *("--first-failure", "--seeds", str(seeds)),
            ],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"^seed (\d+): .*$", ran.stdout, re.MULTILINE)
    said = found.group() if found else (ran.stdout + ran.stderr)[-400:]
    return Trial(mutant, int(found[1]) if found else None, said, time.monotonic() - began)


def run(chosen: Sequence[Mutant], jobs: int) -> bool:
    """Try them out and print how each was caught; whether all were."""
    with ThreadPoolExecutor(jobs) as pool:
        trials = pool.map(try_out, chosen)
        caught = 0
        for trial in trials:
            print(trial, flush=True)
            caught += trial.caught
    print(f"{caught} of {len(chosen)} mutants caught")
    return caught == len(chosen)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Break one promise at a time; each must be noticed."
    )
    parser.add_argument("names", nargs="*", help="which; all when left out")
    parser.add_argument("--third", type=int, help="only every third, beginning with this number")
    parser.add_argument("--jobs", type=int, default=2, help="at the same time")
    given = parser.parse_args()
    chosen = mutants(given.names)
    if given.third is not None:
        chosen = chosen[given.third % 3 :: 3]
    return 0 if run(chosen, given.jobs) else 1


if __name__ == "__main__":
    sys.exit(main())
