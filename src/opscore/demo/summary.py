"""The last screen, and the same as one JSON object."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from opscore.demo.audit import Account
from opscore.demo.screen import counted, shown
from opscore.demo.show import Told


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything the end of the demo tells. `seconds` is the job alone, `total` everything."""

    account: Account
    told: Told
    seconds: float
    total: float
    root: str
    template: Path
    directory: Path
    database_url: str
    program: str
    serving: tuple[str, str] | None = None

    @property
    def well(self) -> bool:
        """Does every check hold?"""
        return not self.account.wrong


def commands(outcome: Outcome) -> list[str]:
    """Three commands that open this very database."""
    account, program = outcome.account, outcome.program
    first = f"{program} dev --database-url {shlex.quote(outcome.database_url)}"
    if outcome.serving is not None:
        url, key = outcome.serving
        first = f"export OPSCORE_URL={url} OPSCORE_API_KEY={key}"
    some = "--status failed" if account.fallbacks else "--limit 5"
    return [
        first,
        f"{program} session show {account.session_id}",
        f"{program} task ls --session {account.session_id} {some}",
    ]


def last_screen(outcome: Outcome) -> Iterator[str | Text]:
    """What stays on the screen when the demo has ended."""
    account, told = outcome.account, outcome.told
    yield ""
    headline = (
        f"{counted(account.files, 'file')}, {counted(account.completions, 'recorded completion')}, "
        f"{account.lost:,} lost, {account.doubled:,} recorded twice, "
        f"through {counted(told.kills, 'kill')}"
    )
    yield Text(headline, style="bold green" if outcome.well else "bold red")
    yield Text(
        f"{counted(account.tasks, 'task')}, {counted(account.attempts, 'attempt')}, "
        f"{counted(account.retries, 'retry')}, {counted(account.fallbacks, 'fallback')}; the job took {outcome.seconds:.1f} s, all of it "
        f"{outcome.total:.1f} s"
    )
    for fault in account.wrong[:20]:
        yield Text(f"NOT AS IT SHOULD BE: {shown(fault)}", style="bold red")
    if account.worst:
        yield ""
        yield Text(f"The worst functions of {shown(outcome.root)} (cyclomatic complexity):")
    for file, function in account.worst:
        where = f"{shown(file)}:{function.line}"
        yield f"  {function.complexity:>4}  {shown(function.name)}  {where}"
    yield ""
    yield f"Report    {shown(account.report or '-')}"
    yield f"Template  {outcome.template}"
    yield f"Kept in   {outcome.directory} (delete it: rm -r {shlex.quote(str(outcome.directory))})"
    yield ""
    yield from _words_for(outcome)


def _words_for(outcome: Outcome) -> Iterator[str]:
    first, *others = commands(outcome)
    if outcome.serving is None:
        yield "Look at it again: start a server on this very database (Ctrl-C stops it),"
        yield f"  {first}"
        yield "and in another terminal:"
    else:
        yield "The server and its agents go on running until Ctrl-C. In another terminal:"
        yield f"  {first}"
    for command in others:
        yield f"  {command}"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The object of `--json`."""
    account, told = outcome.account, outcome.told
    return {
        "sessionId": account.session_id,
        "status": account.status,
        "report": account.report,
        "files": account.files,
        "tasks": account.tasks,
        "attempts": account.attempts,
        "retries": account.retries,
        "fallbacks": account.fallbacks,
        "lost": account.lost,
        "doubled": account.doubled,
        "seconds": round(outcome.seconds, 3),
        "totalSeconds": round(outcome.total, 3),
        "completions": account.completions,
        "kills": told.kills,
        "movedAfterKill": told.moved,
        "retriedAfterSeconds": told.retried_after,
        "overtaken": told.overtaken,
        "unparsed": told.unparsed,
        "serverAwaySeconds": told.server_away,
        "worst": [{"file": file, **one._asdict()} for file, one in account.worst],
        "wrong": account.wrong,
        "root": outcome.root,
        "template": str(outcome.template),
        "directory": str(outcome.directory),
        "databaseUrl": outcome.database_url,
        "commands": commands(outcome),
    }
