"""`opscore store …`: the whole database, moved, saved and brought back."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from opscore.cli.app import noun
from opscore.cli.exits import failure
from opscore.cli.output import Columns, print_list, say
from opscore.cli.settings import DATABASE, JsonFlag, OutputFormat, usual_database

if TYPE_CHECKING:
    from opscore.store.moving.tables import Content

app = noun("store", "The database: move it, back it up, restore it.")

Output = Annotated[
    OutputFormat, Parameter(name=("--output", "-o"), help="How to print the tables.")
]
DatabaseUrl = Annotated[str | None, DATABASE]
BackupFile = Annotated[Path, Parameter(help="The file of the backup.")]


@app.command
async def copy(
    source: Annotated[str, Parameter(help="The database that has everything.")],
    target: Annotated[str, Parameter(help="The database that is to have it; it must be empty.")],
    /,
    *,
    output: Output = "table",
    as_json: JsonFlag = False,
) -> None:
    """Move a whole installation: `opscore store copy sqlite:///ops.db postgresql://…`, or back.

    Stop the servers of both first. Every table is read back from the target and compared with the
    source by checksum; unless all are the same, the target stays as it was. The source is only
    read. Log records are not moved.
    """
    from opscore.store.moving import move

    content = await _carry_out(move.copy(source, target))
    _print(content, "json" if as_json else output)
    say(f"{_shown(source)} was copied; start servers with OPSCORE_DATABASE_URL={_shown(target)}")


@app.command
async def backup(
    file: BackupFile,
    /,
    *,
    database_url: DatabaseUrl = None,
    output: Output = "table",
    as_json: JsonFlag = False,
) -> None:
    """Save everything into one new file, also while servers run: they do not wait.

    It is of one moment, compressed, with checksums, and was read back when this ends. It holds what
    the database holds (payloads, hashes of keys, the secret that signs callbacks): only you may read
    it. Without --database-url: ops.db or, when there is none, the database of `opscore dev`.
    """
    from opscore.store.moving import move

    content = await _carry_out(move.backup(database_url or usual_database(), file))
    _print(content, "json" if as_json else output)
    say(f"{file}: {file.stat().st_size:,} bytes")


@app.command
async def restore(
    file: BackupFile,
    /,
    *,
    database_url: Annotated[str, DATABASE],
    output: Output = "table",
    as_json: JsonFlag = False,
) -> None:
    """Make a database of a backup, SQLite or PostgreSQL, whichever it was taken from.

    The database must be empty (SQLite: the file must not exist) and no server may use it. A file that
    is damaged, or no backup, is refused before anything is written.
    """
    from opscore.store.moving import move

    content = await _carry_out(move.restore(file, database_url))
    _print(content, "json" if as_json else output)
    say(f"{_shown(database_url)} is as it was when {file} was made")


async def _carry_out(work: Coroutine[Any, Any, dict[str, Content]]) -> dict[str, Content]:
    from opscore.core.errors import StoreRefused

    try:
        return await work
    except StoreRefused as refusal:
        raise failure(str(refusal)) from None


def _shown(url: str) -> str:
    from opscore.store.postgres_connect import shown

    return shown(url)


def _print(content: Mapping[str, Content], form: OutputFormat) -> None:
    rows = [
        {"table": name, "rows": found.rows, "checksum": found.checksum}
        for name, found in content.items()
    ]
    print_list(rows, _TABLES, form)


def _checksum(row: Any) -> str:
    return f"{row['checksum'][:16]}…"


_TABLES: Columns = [("TABLE", "table"), ("ROWS", "rows"), ("CHECKSUM", _checksum)]
