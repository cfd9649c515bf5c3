"""Is it true? The finished job against the disk, the journal and the report, each read anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from opscore.demo.ledger import Ledger
from opscore.demo.report import WorstFunction, escape
from opscore.demo.scan import python_files
from opscore.demo.show import Told
from opscore.wire.session import SessionView

EVERY_FILE = "## Every file\n"


@dataclass(frozen=True, slots=True)
class Account:
    """The figures of the last screen, and every way in which they are not as they should be."""

    session_id: str
    status: str
    report: str
    files: int
    completions: int
    tasks: int
    attempts: int
    retries: int
    fallbacks: int
    lost: int
    doubled: int
    worst: list[tuple[str, WorstFunction]]
    wrong: list[str]


class _Output(msgspec.Struct):
    """What the session's output says."""

    report: str = ""
    totals: dict[str, int] = {}
    functions: list[tuple[str, WorstFunction]] = []


def take_account(
    session: SessionView, book: Ledger, listed: list[str], root: str, told: Told
) -> Account:
    """Compare. `book` is a fresh reading of the journal, `listed` the disk before the job."""
    output = msgspec.json.decode(session.output, type=_Output | None) or _Output()
    wrong = list(told.wrong)
    if session.status != "completed":
        error = session.error
        wrong.append(f"the session ended as {session.status}: {error.message if error else '-'}")
    else:
        wrong += _unlike_disk(book.files, listed, root)
        wrong += _unlike_report(book.files, Path(output.report))
        wrong += _unlike_totals(book.files, output.totals)
    wrong += [f"{file} was lost" for file in book.lost]
    wrong += [f"{file} was recorded twice" for file in book.doubled]
    wrong += [f"{entry.task_id} is not over" for entry in book.tasks.values() if not entry.over]
    return Account(
        session_id=session.session_id,
        status=session.status,
        report=output.report,
        files=len(book.files),
        completions=book.completions.total(),
        tasks=len(book.tasks),
        attempts=book.counts["task.claimed"],
        retries=book.counts["task.retried"],
        fallbacks=book.fallbacks,
        lost=len(book.lost),
        doubled=len(book.doubled),
        worst=output.functions,
        wrong=wrong,
    )


def _unlike_disk(files: list[str], listed: list[str], root: str) -> list[str]:
    """The scan's list is that of the disk, as it was before the job or as it is now."""
    if files == listed or files == python_files(root):
        return []
    odd = sorted(set(files) ^ set(listed))
    return [f"the scanned list differs from the disk by {len(odd)} files: {', '.join(odd[:5])}"]


def _unlike_report(files: list[str], report: Path) -> list[str]:
    try:
        text = report.read_text(encoding="utf-8")
    except OSError as error:
        return [f"the report cannot be read: {error}"]
    rows = [row for row in text.partition(EVERY_FILE)[2].splitlines() if row.startswith("| ")][2:]
    told = Counter(row[2:].partition(" | ")[0] for row in rows)
    odd = (Counter(map(escape, files)) - told) + (told - Counter(map(escape, files)))
    return [f"the report has {len(odd)} other files: {sorted(odd)[:5]}"] if odd else []


def _unlike_totals(files: list[str], totals: dict[str, int]) -> list[str]:
    counted = totals.get("files")
    return [] if counted == len(files) else [f"the ranking counts {counted} files"]
