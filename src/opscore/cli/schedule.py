"""`opscore schedule …`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from opscore.cli.app import noun
from opscore.cli.output import Columns, print_list, print_one, say
from opscore.cli.settings import DEFAULTS, Common

app = noun("schedule", "Schedules: workflows that start by themselves.")

Workflow = Annotated[str, Parameter(help="The workflow whose schedule it is.")]


@app.command
async def ls(*, common: Common = DEFAULTS) -> None:
    """List every schedule with its next time."""
    from opscore.cli.remote import connect

    async with connect(common) as server:
        found = await server.get("/schedule")
    print_list(found["schedules"], _LIST, common.format)


@app.command
async def preview(
    workflow: Workflow,
    /,
    *,
    count: Annotated[int, Parameter(help="How many, at most 100.")] = 10,
    common: Common = DEFAULTS,
) -> None:
    """Show when a workflow would start next."""
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        found = await server.get(f"/schedule/{part(workflow)}", next=count)
    print_one(found, lambda one: one["nextTimes"], common.format)
    if common.format == "table" and found["paused"]:
        say(f"the schedule of {workflow} is paused: opscore schedule resume {workflow}")


@app.command
async def pause(workflow: Workflow, /, *, common: Common = DEFAULTS) -> None:
    """Start nothing by itself until it is resumed."""
    await _change(common, workflow, "pause", "starts nothing by itself any more")


@app.command
async def resume(workflow: Workflow, /, *, common: Common = DEFAULTS) -> None:
    """Go on with the next time from now."""
    await _change(common, workflow, "resume", "starts by itself again")


@app.command
async def trigger(workflow: Workflow, /, *, common: Common = DEFAULTS) -> None:
    """Start a session now, whatever runs."""
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        started = await server.post(f"/schedule/{part(workflow)}/trigger", None)
    print_one(started, lambda one: [one["sessionId"]], common.format)


async def _change(common: Common, workflow: str, verb: str, words: str) -> None:
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        changed = await server.post(f"/schedule/{part(workflow)}/{verb}", None)
    if common.format == "table":
        say(f"{workflow} {words}")
    else:
        print_one(changed, lambda one: one["nextTimes"], common.format)


def _when(row: Any) -> str:
    if row["cron"] is None:
        return f"every {row['everySeconds']:g} s"
    return f"{row['cron']} ({row['timezone']})"


_LIST: Columns = [
    ("WORKFLOW", "workflow"),
    ("VERSION", "version"),
    ("WHEN", _when),
    ("OVERLAP", "overlap"),
    ("NEXT", lambda row: "paused" if row["paused"] else next(iter(row["nextTimes"]), None)),
    ("LAST", "lastAt"),
    ("QUEUED", "queued"),
    ("MISSED", "missed"),
]
