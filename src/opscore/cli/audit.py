"""`opscore audit …`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from opscore.cli import exits
from opscore.cli.app import noun
from opscore.cli.exits import failure
from opscore.cli.output import Columns, paint, plain, print_json, print_lines, print_list
from opscore.cli.settings import DATABASE, DEFAULTS, Common, JsonFlag, OutputFormat, usual_database

if TYPE_CHECKING:
    from opscore.core.audit import Checkpoint, Verdict

app = noun("audit", "The audit: who changed what by order.")


@app.command
async def ls(
    *,
    actor: Annotated[str | None, Parameter(help="Of this actor: operator:KEY-ID.")] = None,
    key: Annotated[str | None, Parameter(help="With this key, by its id.")] = None,
    action: Annotated[str | None, Parameter(help="Of this kind: key.revoked.")] = None,
    subject: Annotated[str | None, Parameter(help="About what has this id.")] = None,
    since: Annotated[str | None, Parameter(help="From this time on (RFC 3339).")] = None,
    until: Annotated[str | None, Parameter(help="Before this time (RFC 3339).")] = None,
    limit: Annotated[int, Parameter(help="How many, at most.")] = 50,
    common: Common = DEFAULTS,
) -> None:
    """List what people and keys changed, newest first.

    It needs a key with the scope admin. What agents did is in `session history`.
    """
    from opscore.cli.remote import connect

    asked = {"actor": actor, "key": key, "action": action, "subject": subject}
    async with connect(common) as server:
        rows = await server.listing("/audit", "records", limit, **asked, since=since, until=until)
    print_list(rows, RECORDS, common.format)


def _record(row: Any) -> str:
    return f"{row['writer']}:{row['seq']}"


RECORDS: Columns = [
    ("AT", "at"),
    ("ACTOR", "actor"),
    ("ACTION", "action"),
    ("SUBJECT", "subject"),
    ("NAMESPACE", "namespace"),
    ("DETAILS", "details"),
    ("RECORD", _record),
]


@app.command
async def verify(
    *,
    checkpoint: Annotated[
        str | None,
        Parameter(
            env_var="OPSCORE_AUDIT_CHECKPOINT", help="The last checkpoint that was kept elsewhere."
        ),
    ] = None,
    database_url: Annotated[str | None, DATABASE] = None,
    output: Annotated[
        OutputFormat, Parameter(name=("--output", "-o"), help="How to print the result.")
    ] = "table",
    as_json: JsonFlag = False,
) -> int:
    """Find records that were changed, deleted, inserted or put elsewhere, and say where.

    The database is only read, also while a server uses it. Records at the very end can be cut off
    without a trace in the database; only a checkpoint shows that. Without --database-url: ops.db
    or, when there is none, the database of `opscore dev`. Exit code 1 when something is wrong.
    """
    from opscore.core.errors import StoreRefused
    from opscore.store.examine import examine_audit, path_of

    url = database_url or usual_database()
    try:
        path = path_of(url)
        if path is None or not path.exists():
            raise failure(f"there is no database {url}", "name it with --database-url")
        verdict = examine_audit(path, _checkpoint(checkpoint))
    except StoreRefused as refusal:
        raise failure(str(refusal)) from None
    _print(verdict, checkpointed=checkpoint is not None, form="json" if as_json else output)
    return exits.ERROR if verdict.findings else exits.OK


def _checkpoint(name: str | None) -> Checkpoint | None:
    from opscore.core.audit import read_checkpoint

    if name is None:
        return None
    if "://" in name:
        raise failure("verify reads a checkpoint from a file", "fetch it first: --checkpoint FILE")
    try:
        return read_checkpoint(Path(name).read_bytes())
    except OSError as problem:
        raise failure(f"{name}: {problem.strerror}") from None
    except ValueError as problem:
        raise failure(f"{name}: {problem}") from None


def _print(verdict: Verdict, *, checkpointed: bool, form: str) -> None:
    if form != "table":
        print_json(
            {
                "whole": not verdict.findings,
                "records": verdict.records,
                "chains": verdict.chains,
                "checkpoint": checkpointed,
                "findings": [
                    {"kind": f.kind, "writer": f.writer, "seq": f.seq, "message": f.message}
                    for f in verdict.findings
                ],
            }
        )
        return
    count = f"{verdict.records} records in {verdict.chains} chains"
    if verdict.findings:
        print_lines([f"{paint('fail')}  {count}: not as they were written"])
        print_lines(f"      {f.kind}: {plain(f.message)}" for f in verdict.findings[:SHOWN])
        if len(verdict.findings) > SHOWN:
            print_lines([f"      and {len(verdict.findings) - SHOWN} more (-o json shows all)"])
        return
    print_lines([f"{paint('ok')}    {count}, every one as it was written"])
    if not checkpointed:
        print_lines(["      without a checkpoint: nothing tells whether the last ones are there"])


SHOWN = 20
