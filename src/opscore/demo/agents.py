"""The demo's agents, as any author writes them: plain functions on the public SDK.

`python -m opscore.demo.agents ROLE [INSTANCE]` runs one process; several processes of one role are
instances of one agent. Roles: scanner, measurer, careful-measurer, reporter.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from opscore.demo.measure import DoesNotParse, count_lines, measure_source
from opscore.demo.report import FileResult, Ranking, measured, rank, write_markdown
from opscore.demo.scan import Skipped, scan_tree
from opscore.sdk import Agent, Fatal, Retryable, Task

_T = TypeVar("_T")

scanner = Agent("scanner", max_in_flight=1, capture_output=True)
measurer = Agent("measurer", max_in_flight=4, capture_output=True)
careful_measurer = Agent("careful-measurer", max_in_flight=2, capture_output=True)
reporter = Agent("reporter", max_in_flight=2, capture_output=True)

# All results together are one task's input. Without its path, a result takes 91 bytes on average
# over the standard library; the rest is room for the ranking.
_RESULT_BYTES = 100
_USUAL_LIMIT = 256 * 1024


@scanner.task("scan-tree")
def scan(root: str) -> dict[str, Any]:
    """List the tree's files: `{files: [path], skipped: [{path, reason}]}`."""
    try:
        found = scan_tree(root)
    except OSError as error:
        raise Fatal(f"cannot list {root}: {error.strerror}") from error
    _refuse_too_many(root, found.files)
    return asdict(found)


@measurer.task("measure-file")
def measure_file(root: str, file: str, task: Task) -> FileResult:
    """Measure one file of the tree.

    The file that the session's context names as `limited` plays an exhausted quota on its first
    attempt, to show the retry.
    """
    if task.attempt == 1 and file == task.context.get("limited"):
        raise Retryable("rate limited", after=1)
    try:
        return measured(file, measure_source(Path(root, file).read_bytes()))
    except DoesNotParse as error:
        raise Fatal(f"{file} does not parse: {error}") from error
    except OSError as error:
        raise Fatal(f"cannot read {file}: {error.strerror}") from error


@careful_measurer.task("count-lines")
def measure_carefully(root: str, file: str) -> FileResult:
    """Say what can be said about any file: at least its lines, and why there is no more."""
    try:
        data = Path(root, file).read_bytes()
    except OSError as error:
        return FileResult(file, 0, reason=f"cannot be read: {error.strerror}")
    try:
        return measured(file, measure_source(data))
    except DoesNotParse as error:
        return FileResult(file, count_lines(data), reason=str(error))


@reporter.task("rank-files")
def rank_files(results: list[Any]) -> dict[str, Any]:
    """Rank the files: `{totals, files, functions}`."""
    return asdict(rank(_convert(results, list[FileResult])))


@reporter.task("write-report")
def write_report(
    root: str, report: str, results: list[Any], ranking: dict[str, Any], skipped: list[Any]
) -> dict[str, Any]:
    """Write the report and say where it is: `{report, totals, functions}`."""
    text = write_markdown(
        root,
        _convert(results, list[FileResult]),
        _convert(ranking, Ranking),
        _convert(skipped, list[Skipped]),
    )
    path = Path(report).absolute()
    try:
        _replace(path, text)
    except OSError as error:
        raise Fatal(f"cannot write {path}: {error.strerror}") from error
    return {
        "report": str(path),
        "totals": ranking["totals"],
        "functions": ranking["functions"],
    }


ROLES = {
    "scanner": scanner,
    "measurer": measurer,
    "careful-measurer": careful_measurer,
    "reporter": reporter,
}


def main(arguments: Sequence[str]) -> int:
    """Run one role until it is told to stop; 2 for a wrong command line."""
    if len(arguments) not in {1, 2} or arguments[0] not in ROLES:
        usage = f"usage: python -m opscore.demo.agents {{{','.join(ROLES)}}} [INSTANCE]"
        print(usage, file=sys.stderr)
        return 2
    # What the parser thinks of a measured file's style is no concern of whoever runs the demo.
    warnings.simplefilter("ignore", SyntaxWarning)
    # A syntax tree is tens of thousands of objects without a cycle: searching it for cycles again
    # and again costs a quarter of the time.
    gc.set_threshold(100_000, 50, 100)
    agent = ROLES[arguments[0]]
    if len(arguments) == 2:
        agent.instance_id = arguments[1]
    agent.run()
    return 0


def _refuse_too_many(root: str, files: list[str]) -> None:
    """Say at the start what would else be said by the ranking, after all files were measured."""
    limit = int(os.environ.get("OPSCORE_PAYLOAD_LIMIT") or _USUAL_LIMIT)
    size = sum(len(file.encode()) + _RESULT_BYTES for file in files)
    if size > limit:
        raise Fatal(
            f"{root} has {len(files):,} Python files: their results, about {size // 1024:,} KiB, "
            f"would pass the {limit // 1024:,} KiB that one task may be given; choose a smaller "
            "directory, or set OPSCORE_PAYLOAD_LIMIT for the server and the scanner"
        )


def _convert(value: Any, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Fatal(f"unexpected input: {error}") from error


def _replace(path: Path, text: str) -> None:
    """Write the file at once or not at all, for the attempt may be killed at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
