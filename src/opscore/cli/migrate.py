"""`opscore migrate`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from opscore.cli import exits
from opscore.cli.exits import failure
from opscore.cli.output import print_json, print_lines, say
from opscore.cli.settings import DATABASE, JsonFlag, OutputFormat, usual_database


async def migrate(
    *,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Only say what would be done; exit code 1 when anything.")
    ] = False,
    database_url: Annotated[str | None, DATABASE] = None,
    output: Annotated[
        OutputFormat, Parameter(name=("--output", "-o"), help="How to print the result.")
    ] = "table",
    as_json: JsonFlag = False,
) -> int:
    """Bring a database to this version's schema; a server does it too, when it starts.

    Forward only, each migration in a transaction of its own. A SQLite file must not be in use. On
    PostgreSQL older servers may go on meanwhile, as far as the schema lets them. A database of a
    newer version is refused. Without --database-url: ops.db or, when there is none, the database of
    `opscore dev`.
    """
    from opscore.core.errors import StoreRefused
    from opscore.store.upgrade import pending, upgrade

    url = database_url or usual_database()
    try:
        found = await (pending(url) if dry_run else upgrade(url))
    except StoreRefused as refusal:
        raise failure(str(refusal)) from None
    if as_json or output != "table":
        told = {"schema": found.schema, "known": found.known, "migrations": list(found.pending)}
        print_json({**told, "applied": not dry_run})
    else:
        print_lines(found.pending)
        say(_words(len(found.pending), max(found.schema, found.known), dry_run=dry_run))
    return exits.ERROR if dry_run and found.pending else exits.OK


def _words(count: int, schema: int, *, dry_run: bool) -> str:
    if not count:
        return f"nothing to do: the schema is {schema}"
    migrations = "1 migration" if count == 1 else f"{count} migrations"
    if dry_run:
        return f"{migrations} to apply; nothing was changed (--dry-run)"
    return f"{migrations} applied: the schema is {schema}"
