"""`opscore task …`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from opscore.cli.app import noun
from opscore.cli.bulk import change_found
from opscore.cli.exits import OK, usage
from opscore.cli.inputs import given, labels, payload, value
from opscore.cli.outcome import error_text
from opscore.cli.output import Columns, fields, print_lines, print_list, print_one, say
from opscore.cli.screen import step_of
from opscore.cli.settings import DEFAULTS, Common, IdempotencyKey
from opscore.cli.why import why_lines

app = noun("task", "Tasks: enqueue, read, repeat by hand.")


@dataclass(frozen=True)
class Filter:
    """Which dead letters a command is for."""

    agent: Annotated[str | None, Parameter(help="Those of this agent, by id.")] = None
    capability: Annotated[str | None, Parameter(help="Those that need this.")] = None
    session: Annotated[str | None, Parameter(help="Those of this session.")] = None
    workflow: Annotated[str | None, Parameter(help="Those of sessions of this workflow.")] = None
    error_class: Annotated[str | None, Parameter(help="Those that failed with this class.")] = None
    all: Annotated[bool, Parameter(negative=(), help="All of them.")] = False


Which = Annotated[Filter, Parameter(name="*")]
ANY = Filter()
DryRun = Annotated[bool, Parameter(negative=(), help="Only say which; change nothing.")]
TaskId = Annotated[str, Parameter(help="The task's id.")]
Why = Annotated[str, Parameter(help="Why, for the record.")]


@app.command
async def enqueue(
    capability: Annotated[str | None, Parameter(help="What the task needs.")] = None,
    /,
    *words: Annotated[str, Parameter(name="KEY=VALUE", help="The input, word by word.")],
    agent: Annotated[str | None, Parameter(help="Only this agent, by name.")] = None,
    document: Annotated[
        str | None, Parameter(name="--input", help="The input as JSON or @file.")
    ] = None,
    priority: Annotated[int | None, Parameter(help="0 to 100; higher is sooner.")] = None,
    delay: Annotated[float | None, Parameter(help="Seconds to wait first.")] = None,
    due_at: Annotated[str | None, Parameter(help="Not before this time (RFC 3339).")] = None,
    retry: Annotated[
        str | None, Parameter(help='As in a template: 3, or {"maxAttempts": 3, …}.')
    ] = None,
    timeout: Annotated[
        str | None, Parameter(help='As in a template: 30s, or {"attempt": "30s", …}.')
    ] = None,
    label: Annotated[
        tuple[str, ...], Parameter(name="--label", negative=(), help="key=value.")
    ] = (),
    idempotency_key: IdempotencyKey = None,
    common: Common = DEFAULTS,
) -> None:
    """Enqueue one task: `opscore task enqueue summarize text=hello`."""
    from opscore.cli.remote import connect

    if capability and "=" in capability:
        capability, words = None, (capability, *words)
    if not capability and not agent:
        raise usage("name a capability or an --agent", "opscore task enqueue summarize text=hello")
    body = given(
        capability=capability,
        agent=agent,
        input=payload(words, document),
        priority=priority,
        delaySeconds=delay,
        dueAt=due_at,
        retry=value(retry) if retry else None,
        timeout=value(timeout) if timeout else None,
        labels=labels(label),
    )
    async with connect(common) as server:
        made = await server.post("/task", body, key=idempotency_key)
    print_one(made, _all, common.format)
    if common.format == "table":
        say(f"follow it: opscore task show {made['taskId']}")


@app.command
async def ls(
    *,
    status: Annotated[
        Literal["scheduled", "available", "running", "completed", "failed", "cancelled"] | None,
        Parameter(help="Only those in this state."),
    ] = None,
    agent: Annotated[str | None, Parameter(help="Only those of this agent.")] = None,
    capability: Annotated[str | None, Parameter(help="Only those that need this.")] = None,
    session: Annotated[str | None, Parameter(help="Only those of this session.")] = None,
    workflow: Annotated[str | None, Parameter(help="Only those of this workflow.")] = None,
    error_class: Annotated[str | None, Parameter(help="Only those with this error.")] = None,
    dead: Annotated[
        bool, Parameter(negative=(), help="Only dead letters: given up, and still to be done.")
    ] = False,
    limit: Annotated[int, Parameter(help="At most this many.")] = 100,
    common: Common = DEFAULTS,
) -> None:
    """List tasks."""
    from opscore.cli.remote import connect

    wanted = given(
        status=status,
        agent=agent,
        capability=capability,
        session=session,
        workflow=workflow,
        errorClass=error_class,
    )
    if dead:
        wanted["dead"] = True
    async with connect(common) as server:
        found = await server.listing("/task", "tasks", limit, **wanted)
    print_list(found, _LIST, common.format)


@app.command
async def show(task: TaskId, /, *, common: Common = DEFAULTS) -> None:
    """Show a task on one screen: why it failed, every attempt, what to do next.

    -o json has the task alone, and all of it.
    """
    from opscore.cli import task_screen
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        if common.format != "table":
            print_one(await server.get(f"/task/{part(task)}"), _all, common.format)
            return
        reading = await task_screen.read(server, task)
    print_lines(task_screen.lines(reading))


@app.command
async def why(task: TaskId, /, *, common: Common = DEFAULTS) -> None:
    """Say what a task waits for, since when, and its place in the queue."""
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        found = await server.get(f"/task/{part(task)}/why")
    print_one(found, why_lines, common.format)


@app.command
async def retry(
    task: Annotated[str | None, Parameter(help="The task's id; without it: dead letters.")] = None,
    /,
    *,
    which: Which = ANY,
    attempts: Annotated[
        int | None, Parameter(help="How often each may be tried from now on (dead letters).")
    ] = None,
    dry_run: DryRun = False,
    common: Common = DEFAULTS,
) -> int:
    """Try a failed task once more, or all dead letters that fit the filters."""
    if task is not None:
        _alone(which, dry_run=dry_run or attempts is not None)
        await _control(common, task, "retry", None, "will be tried again")
        return OK
    body = {**_filters(which), **given(attempts=attempts), "dryRun": dry_run}
    return await change_found(common, "/task/retry", body, "tasks", "will be tried again")


@app.command
async def fallback(
    task: Annotated[str | None, Parameter(help="The task's id; without it: dead letters.")] = None,
    /,
    *,
    status: Annotated[
        Literal["scheduled", "available", "running"] | None,
        Parameter(help="Not dead letters, but tasks in this state."),
    ] = None,
    which: Which = ANY,
    dry_run: DryRun = False,
    common: Common = DEFAULTS,
) -> int:
    """Give a task's work to its next fallback, or that of all that fit the filters."""
    if task is not None:
        _alone(which, dry_run=dry_run or status is not None)
        await _control(common, task, "fallback", None, "goes to its fallback")
        return OK
    body = {**_filters(which), **given(status=status), "dryRun": dry_run}
    return await change_found(common, "/task/fallback", body, "tasks", "go to their fallbacks")


def _alone(which: Filter, *, dry_run: bool) -> None:
    if which != ANY or dry_run:
        raise usage("a task's id stands alone", "leave it out to use filters, or leave them out")


def _filters(which: Filter) -> dict[str, Any]:
    """What picks dead letters; without any of it, `--all` must say that all are meant."""
    found = given(
        agent=which.agent,
        capability=which.capability,
        session=which.session,
        workflow=which.workflow,
        errorClass=which.error_class,
    )
    if not found and not which.all:
        raise usage(
            "which tasks? Give an id, a filter, or --all", "see them: opscore task ls --dead"
        )
    return found


@app.command
async def cancel(task: TaskId, /, *, reason: Why = "", common: Common = DEFAULTS) -> None:
    """Cancel a task."""
    await _control(common, task, "cancel", {"reason": reason}, "is being cancelled")


@app.command
async def edit(
    task: TaskId,
    /,
    *,
    priority: Annotated[int, Parameter(help="0 to 100; higher is sooner.")],
    common: Common = DEFAULTS,
) -> None:
    """Change a task's priority."""
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        changed = await server.patch(f"/task/{part(task)}", {"priority": priority})
    if common.format == "table":
        say(f"{task}: priority {priority}")
    else:
        print_one(changed or {}, _all, common.format)


async def _control(common: Common, task: str, verb: str, body: object, words: str) -> None:
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        answer = await server.post(f"/task/{part(task)}/{verb}", body)
    if common.format == "table":
        say(f"{task} {words}")
    else:
        print_one(answer or {}, _all, common.format)


def _all(record: Any) -> list[str]:
    return fields(record.items())


_LIST: Columns = [
    ("TASK", "taskId"),
    ("STATUS", "status"),
    ("STEP", step_of),
    ("NEEDS", lambda row: row.get("capability") or f"agent {row.get('agent')}"),
    ("AGENT", "agentId"),
    ("ATTEMPT", "attempt"),
    ("PRIORITY", "priority"),
    ("CREATED", "createdAt"),
    ("ERROR", lambda row: error_text(row.get("error"))),
]
