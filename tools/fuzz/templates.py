"""Damages templates and reads them: each must give a template, or say where what is wrong.

Runs as a process of its own with bounded memory, so that a crash or a hang is somebody's finding
and nobody's end. `python -m tools.fuzz.templates --seed 7 --case 12` reads one case again.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random

from opscore.core.errors import Invalid, Refusal, TooLarge
from opscore.core.template import Template
from opscore.documents import load
from opscore.templates import check_template, read_template
from tools.fuzz.mutations import Tree, damaged, mutated

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("examples", "src/opscore/demo"), ("tests/mistakes",)
"""Of templates that are right, and of such with mistakes."""
MEMORY = 2 * 1024**3
"""Bytes of address space: a template of 1 MiB must never need as much."""
CASE_SECONDS = 10.0
"""One case may take so long of the processor; the largest legal ones take about one."""


class Found(Exception):
    """A promise that a case breaks."""


@cache
def texts() -> list[bytes]:
    """Templates that are right, and among them one with a mistake of each kind."""
    right, wrong = ([p for one in folders for p in one] for folders in map(_files, FOLDERS))
    return [path.read_bytes() for path in [*right, *right, *right, *right, *wrong]]


def _files(folders: Sequence[str]) -> Iterator[list[Path]]:
    for folder in folders:
        found = sorted((ROOT / folder).rglob("*.yaml"))
        yield [path for path in found if path.parent.name != "mocks"]


@cache
def trees() -> list[Tree]:
    """Those among them that can be parsed."""
    found: list[Tree] = []
    for text in texts():
        try:
            found.append(load(text, name="seed.yaml").tree)
        except Invalid:
            continue
    return found


def case_of(seed: int, number: int) -> bytes:
    """The document of a case."""
    chance = Random(f"{seed}:{number}")  # to be replayed
    if chance.random() < 0.4:
        return damaged(chance.choice(texts()), chance)
    tree = mutated(chance.choice(trees()), chance, trees())
    ascii_only = chance.random() < 0.5
    text = json.dumps(tree, ensure_ascii=ascii_only, indent=chance.choice([None, 1]))
    written = text.encode("utf-8", "surrogatepass")
    return written if chance.random() < 0.8 else damaged(written, chance)


def examine(document: bytes) -> str:
    """What became of a document, in one word. Raises `Found`."""
    began = time.process_time()
    try:
        template = read_template(document, name="case.yaml")
    except TooLarge:
        return "too large"
    except Invalid as refused:
        _check_refusal(refused, document)
        outcome = "refused"
    else:
        _check_template(template)
        outcome = "read"
    _check_findings(document, whole=outcome == "read")
    took = time.process_time() - began
    if took > CASE_SECONDS:
        raise Found(f"it took {took:.1f} s")
    return outcome


def _check_refusal(refused: Invalid, document: bytes) -> None:
    """Somebody can find what is wrong, and read what it is."""
    if not refused.faults:
        raise Found(f"no fault is told: {refused.detail}")
    lines = document.decode("utf-8", "replace").splitlines()
    for fault in refused.faults:
        if not fault.message.strip():
            raise Found("a fault says nothing")
        if fault.line is None or fault.column is None or fault.line < 1 or fault.column < 1:
            raise Found(f"a fault has no place: {fault.message}")
        if fault.line > len(lines) + 1:
            raise Found(f"line {fault.line} is not in the document: {fault.message}")


def _check_template(template: Template) -> None:
    """What is stored is read again as the same."""
    again = read_template(bytes(template.source), name="stored.json")
    if again.digest != template.digest:
        raise Found("what was stored reads differently")


def _check_findings(document: bytes, *, whole: bool) -> None:
    """The checker and the reader agree."""
    try:
        found = check_template(document, name="case.yaml")
    except Refusal:
        if whole:
            raise Found("the checker refuses what the reader reads") from None
        return
    if whole == bool(found.faults):
        raise Found("the checker and the reader disagree")


def run(seed: int, seconds: float, note: Path | None = None) -> Counter[str]:
    """Examine cases one after the other for so long; `note` holds the number of the present one.

    Raises what a case breaks, with its number.
    """
    counted: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        number = counted.total()
        if note is not None:
            note.write_text(str(number))
        try:
            counted[examine(case_of(seed, number))] += 1
        except Exception as error:
            error.add_note(f"python -m tools.fuzz.templates --seed {seed} --case {number}")
            raise
    return counted


def main(arguments: list[str]) -> int:
    options = argparse.ArgumentParser(description="Read damaged templates.")
    options.add_argument("--seed", type=int, required=True)
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--case", type=int, help="only this one")
    options.add_argument("--note", type=Path)
    given = options.parse_args(arguments)
    if sys.platform == "linux":  # elsewhere this limit is not kept
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if given.case is not None:
        document = case_of(given.seed, given.case)
        sys.stdout.buffer.write(document + b"\n")
        print(examine(document))
        return 0
    counted = run(given.seed, given.seconds, given.note)
    print(f"fuzz: {counted.total()} templates, seed {given.seed}: {dict(counted)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
