"""`opscore session …`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from opscore.cli.app import noun
from opscore.cli.bulk import change_found
from opscore.cli.exits import OK, usage
from opscore.cli.inputs import given, labels, payload, read_json
from opscore.cli.outcome import detached, say_secret, watch_to_end
from opscore.cli.output import Columns, fields, print_lines, print_list, print_one, say
from opscore.cli.settings import DEFAULTS, CallbackUrl, Common, IdempotencyKey
from opscore.cli.why import why_lines

app = noun("session", "Sessions: start, follow, control.")

SessionId = Annotated[str, Parameter(help="The session's id.")]
Why = Annotated[str, Parameter(help="Why, for the record.")]
Priority = Annotated[int | None, Parameter(help="0 to 100; higher is sooner.")]
Labels = Annotated[tuple[str, ...], Parameter(name="--label", negative=(), help="key=value.")]
Words = Annotated[str, Parameter(name="KEY=VALUE", help="The input, word by word.")]
Document = Annotated[
    str | None, Parameter(name="--input", help="The input as JSON, @file.json or @-.")
]


@app.command
async def start(
    workflow: Annotated[str, Parameter(help="The template.")],
    /,
    *words: Words,
    document: Document = None,
    context: Annotated[str | None, Parameter(help="The context as JSON or @file.")] = None,
    version: Annotated[str | None, Parameter(help="The template's version.")] = None,
    priority: Priority = None,
    label: Labels = (),
    callback: CallbackUrl = None,
    idempotency_key: IdempotencyKey = None,
    common: Common = DEFAULTS,
) -> None:
    """Start a session and leave; `opscore run` waits for its end."""
    from opscore.cli.remote import connect

    body = given(
        workflow=workflow,
        version=version,
        input=payload(words, document),
        context=read_json(context, "--context") if context else None,
        priority=priority,
        labels=labels(label),
        callback=given(url=callback),
    )
    async with connect(common) as server:
        started = await server.post("/session", body, key=idempotency_key)
    print_one(started, lambda one: [one["sessionId"]], common.format)
    if common.format == "table":
        say_secret(started)
        say(f"follow it: opscore session watch {started['sessionId']}")


@app.command
async def ls(
    *,
    workflow: Annotated[str | None, Parameter(help="Only those of this template.")] = None,
    status: Annotated[
        Literal["waiting", "processing", "paused", "completed", "error", "cancelled"] | None,
        Parameter(help="Only those in this state."),
    ] = None,
    agent: Annotated[str | None, Parameter(help="Only those bound to this agent.")] = None,
    label: Annotated[str | None, Parameter(help="Only those with this key=value.")] = None,
    since: Annotated[str | None, Parameter(help="Started at or after (RFC 3339).")] = None,
    until: Annotated[str | None, Parameter(help="Started before (RFC 3339).")] = None,
    limit: Annotated[int, Parameter(help="At most this many.")] = 100,
    common: Common = DEFAULTS,
) -> None:
    """List sessions, newest first."""
    from opscore.cli.remote import connect

    wanted = given(
        workflow=workflow, status=status, agent=agent, label=label, since=since, until=until
    )
    async with connect(common) as server:
        found = await server.listing("/session", "sessions", limit, **wanted)
    print_list(found, _LIST, common.format)


@app.command
async def show(session: SessionId, /, *, common: Common = DEFAULTS) -> None:
    """Show a session on one screen: what failed, what it waits for, its steps, what to do next.

    -o json has the session alone, and all of it.
    """
    from opscore.cli import session_screen
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        if common.format != "table":
            print_one(await server.get(f"/session/{part(session)}"), lambda _: (), common.format)
            return
        reading = await session_screen.read(server, session)
    print_lines(session_screen.lines(reading))


@app.command
async def why(session: SessionId, /, *, common: Common = DEFAULTS) -> None:
    """Say what a session waits for, since when, and who holds it up."""
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        found = await server.get(f"/session/{part(session)}/why")
    print_one(found, why_lines, common.format)


@app.command
async def history(
    session: SessionId,
    /,
    *,
    limit: Annotated[int, Parameter(help="The first ones, at most so many.")] = 10_000,
    common: Common = DEFAULTS,
) -> None:
    """Show the journal of a session: every fact, oldest first."""
    from opscore.cli.event import event_line
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        events = await server.listing(f"/session/{part(session)}/history", "events", limit)
    if common.format == "table":
        print_lines(event_line(one) for one in events)
    else:
        print_list(events, [], common.format)


@app.command
async def watch(
    session: SessionId,
    /,
    *,
    timeout: Annotated[
        float | None, Parameter(help="Give up after this many seconds (exit code 5).")
    ] = None,
    common: Common = DEFAULTS,
) -> int:
    """Follow a session to its end; the exit code is its outcome.

    On a terminal: its steps as a graph, with their progress and attempts, and log lines above it;
    elsewhere a line for each change. It goes on over a restart of the server; Ctrl-C leaves, and
    the session goes on.
    """
    from opscore.cli.remote import connect

    async with connect(common) as server:
        try:
            return await watch_to_end(server, session, common.format, timeout)
        except asyncio.CancelledError:
            detached(session)
            raise


@app.command
async def cancel(
    session: Annotated[str | None, Parameter(help="The session's id; or use filters.")] = None,
    /,
    *,
    reason: Why = "",
    workflow: Annotated[str | None, Parameter(help="Those of this workflow.")] = None,
    status: Annotated[
        Literal["waiting", "processing", "paused"] | None, Parameter(help="Those in this state.")
    ] = None,
    agent: Annotated[str | None, Parameter(help="Those bound to this agent, by id.")] = None,
    label: Annotated[str | None, Parameter(help="Those with this label: key=value.")] = None,
    since: Annotated[str | None, Parameter(help="Those begun since (RFC 3339).")] = None,
    until: Annotated[str | None, Parameter(help="Those begun before (RFC 3339).")] = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Only say which; change nothing.")
    ] = False,
    common: Common = DEFAULTS,
) -> int:
    """Cancel a session, or all that fit: nothing new starts, what runs is told to stop."""
    filters = given(
        workflow=workflow, status=status, agent=agent, label=label, since=since, until=until
    )
    if session is not None and (filters or dry_run):
        raise usage("a session's id stands alone", "leave it out to use filters, or leave them out")
    if session is not None:
        await _control(common, session, "cancel", reason, "is being cancelled")
        return OK
    if not filters:
        raise usage("which session? Give an id, or a filter", "opscore session ls")
    body = {**filters, "reason": reason, "dryRun": dry_run}
    return await change_found(common, "/session/cancel", body, "sessions", "are being cancelled")


@app.command
async def pause(session: SessionId, /, *, reason: Why = "", common: Common = DEFAULTS) -> None:
    """Start nothing new; what runs may finish."""
    await _control(common, session, "pause", reason, "is paused")


@app.command
async def resume(session: SessionId, /, *, reason: Why = "", common: Common = DEFAULTS) -> None:
    """Go on with a paused session."""
    await _control(common, session, "resume", reason, "goes on")


@app.command
async def retry(session: SessionId, /, *, reason: Why = "", common: Common = DEFAULTS) -> None:
    """Run the failed steps again; outputs of completed ones are kept."""
    await _control(common, session, "retry", reason, "tries its failed steps again")


@app.command
async def signal(
    session: SessionId,
    name: Annotated[str, Parameter(help="The signal that a step waits for.")],
    /,
    *words: Words,
    document: Annotated[
        str | None, Parameter(name="--payload", help="The payload as JSON, @file.json or @-.")
    ] = None,
    signal_id: Annotated[
        str | None, Parameter(name="--id", help="The same id a second time changes nothing.")
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """Send a signal to a session; one that comes before its step waits is kept."""
    from opscore.cli.remote import connect, part

    if words and document is not None:
        raise usage("give the payload as words or as --payload, not both")
    body = given(signalId=signal_id)
    if document is not None:
        body["payload"] = read_json(document, "--payload")
    elif words:
        body["payload"] = payload(words, None)
    async with connect(common) as server:
        answer = await server.post(f"/session/{part(session)}/signal/{part(name)}", body)
    _told(common, answer, f"{session} has the signal {name} ({answer['signalId']})")


@app.command
async def edit(
    session: SessionId,
    /,
    *,
    priority: Priority = None,
    label: Labels = (),
    metadata: Annotated[str | None, Parameter(help="A JSON object, or @file.")] = None,
    common: Common = DEFAULTS,
) -> None:
    """Change priority, labels (the set given replaces the old one) or metadata."""
    from opscore.cli.remote import connect, part

    changes: dict[str, Any] = {} if priority is None else {"priority": priority}
    if label:
        changes["labels"] = labels(label)
    if metadata is not None:
        changes["metadata"] = read_json(metadata, "--metadata")
    if not changes:
        raise usage("nothing to change", "give --priority, --label or --metadata")
    async with connect(common) as server:
        changed = await server.patch(f"/session/{part(session)}", changes)
    _told(common, changed, f"{session} changed")


@app.command
async def rm(
    session: Annotated[str | None, Parameter(help="The session's id.")] = None,
    /,
    *,
    older_than: Annotated[
        str | None, Parameter(help="All that ended longer ago than this: 30d, 12h.")
    ] = None,
    workflow: Annotated[str | None, Parameter(help="Of those, only of this workflow.")] = None,
    dry_run: Annotated[bool, Parameter(negative=(), help="Only say which.")] = False,
    common: Common = DEFAULTS,
) -> int:
    """Delete a finished session with its history, or all that ended long ago.

    Open ones stay, however old. Each deletion is recorded in the audit.
    """
    from opscore.cli.old_sessions import remove_old
    from opscore.cli.remote import connect, part

    if (session is None) == (older_than is None):
        raise usage("which sessions? Give one id, or --older-than", "opscore session rm ses_…")
    if older_than is not None:
        return await remove_old(common, older_than, workflow, dry_run=dry_run)
    if dry_run or workflow is not None:
        raise usage("--dry-run and --workflow go with --older-than")
    async with connect(common) as server:
        await server.delete(f"/session/{part(session or '')}")
    say(f"{session} deleted")
    return OK


async def _control(common: Common, session: str, verb: str, reason: str, words: str) -> None:
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        answer = await server.post(f"/session/{part(session)}/{verb}", {"reason": reason})
    _told(common, answer, f"{session} {words}")


def _told(common: Common, answer: Any, words: str) -> None:
    if common.format == "table":
        say(words)
    else:
        print_one(answer or {}, lambda one: fields(one.items()), common.format)


_LIST: Columns = [
    ("SESSION", "sessionId"),
    ("WORKFLOW", "workflow"),
    ("VERSION", "version"),
    ("STATUS", "status"),
    ("PRIORITY", "priority"),
    ("CREATED", "createdAt"),
    ("FINISHED", "finishedAt"),
]
