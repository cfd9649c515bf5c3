"""`opscore approval …`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from opscore.cli import exits
from opscore.cli.app import noun
from opscore.cli.exits import Stop, usage
from opscore.cli.inputs import given, read_json
from opscore.cli.output import Columns, block, fields, print_list, print_one, say
from opscore.cli.settings import DEFAULTS, Common

app = noun("approval", "Approvals: what people are asked.")

ApprovalId = Annotated[str, Parameter(help="The approval's id.")]
Comment = Annotated[str, Parameter(help="What to say with it.")]
By = Annotated[str | None, Parameter(help="Answer in this name (needs the right `admin`).")]
SHORTEST_HASH = 8


@app.command
async def ls(
    *,
    status: Annotated[
        Literal["pending", "approved", "rejected", "cancelled", "all"],
        Parameter(help="Only those in this state, or all."),
    ] = "pending",
    session: Annotated[str | None, Parameter(help="Only those of this session.")] = None,
    limit: Annotated[int, Parameter(help="At most this many.")] = 100,
    common: Common = DEFAULTS,
) -> None:
    """List what people are asked, the newest session's first."""
    from opscore.cli.remote import connect

    wanted = given(status=None if status == "all" else status, session=session)
    async with connect(common) as server:
        found = await server.listing("/approval", "approvals", limit, **wanted)
    print_list(found, _LIST, common.format)


@app.command
async def show(approval: ApprovalId, /, *, common: Common = DEFAULTS) -> None:
    """Show what is asked: title, details, their hash, and who has approved."""
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        found = await server.get(f"/approval/{part(approval)}")
    print_one(found, _view, common.format)


@app.command
async def approve(
    approval: ApprovalId,
    /,
    *,
    hash: Annotated[
        str, Parameter(help="The hash of the content you saw, or how it begins (8 or more).")
    ],
    details: Annotated[
        str | None, Parameter(help="Other details to be used instead: JSON or @file.")
    ] = None,
    comment: Comment = "",
    by: By = None,
    common: Common = DEFAULTS,
) -> None:
    """Say yes to what `approval show` showed, or put other details in its place."""
    from opscore.cli.remote import connect, part

    if len(hash) < SHORTEST_HASH:
        raise usage("--hash is too short", "copy it from `opscore approval show`")
    path = f"/approval/{part(approval)}"
    async with connect(common) as server:
        seen = str((await server.get(path)).get("contentHash", ""))
        if not seen.startswith(hash):
            raise Stop(
                exits.ERROR,
                f"error: the content of {approval} has another hash: it is not what you saw",
                f"  look at it again: opscore approval show {approval}",
            )
        body = given(contentHash=seen, comment=comment or None, by=by)
        if details is not None:
            body["details"] = read_json(details, "--details")
        record = await server.post(f"{path}/approve", body)
    _told(record, common)


@app.command
async def reject(
    approval: ApprovalId, /, *, comment: Comment = "", by: By = None, common: Common = DEFAULTS
) -> None:
    """Say no; one is enough."""
    from opscore.cli.remote import connect, part

    body = given(comment=comment or None, by=by)
    async with connect(common) as server:
        record = await server.post(f"/approval/{part(approval)}/reject", body)
    _told(record, common)


def _told(record: Any, common: Common) -> None:
    if common.format != "table":
        print_one(record, _view, common.format)
    elif record["status"] == "pending":
        missing = record["quorum"] - len(record["votes"])
        say(f"{record['approvalId']} is approved by {_voters(record)}; {missing} more needed")
    else:
        say(f"{record['approvalId']} is {record['status']}")


def _view(record: Any) -> list[str]:
    shown = fields(
        [
            ("approval", record.get("approvalId")),
            ("session", record.get("sessionId")),
            ("step", f"{record.get('step')} of {record.get('workflow')} {record.get('version')}"),
            ("status", record.get("status")),
            ("title", record.get("title")),
            ("approvers", ", ".join(record.get("approvers", [])) or "anybody"),
            ("approved by", _voters(record) or None),
            ("quorum", record.get("quorum")),
            ("edited", True if record.get("edited") else None),
            ("escalated", True if record.get("escalated") else None),
            ("reason", record.get("reason") or None),
            ("hash", record.get("contentHash")),
            ("requested", record.get("requestedAt")),
            ("until", record.get("dueAt")),
            ("decided", record.get("decidedAt")),
        ]
    )
    return shown + block("details", record.get("details"))


def _voters(record: Any) -> str:
    return ", ".join(vote["by"] for vote in record.get("votes", []))


_LIST: Columns = [
    ("APPROVAL", "approvalId"),
    ("STATUS", "status"),
    ("TITLE", "title"),
    ("APPROVERS", lambda row: ", ".join(row.get("approvers", [])) or "anybody"),
    ("APPROVED BY", lambda row: _voters(row) or None),
    ("REQUESTED", "requestedAt"),
    ("UNTIL", "dueAt"),
]
