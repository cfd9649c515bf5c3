"""`opscore log`: what agents and the server said; search it, keep it small."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from opscore.cli.app import noun
from opscore.cli.exits import usage
from opscore.cli.inputs import given
from opscore.cli.output import encode, paint, plain, print_json, print_lines, say
from opscore.cli.settings import DEFAULTS, Common

Level = Literal["debug", "info", "warning", "error", "critical"]
Since = Annotated[
    str | None, Parameter(help="From this time on (RFC 3339), or how long ago (10m).")
]
_IDS = (("sessionId", "session"), ("taskId", "task"), ("traceId", "trace"))

app = noun("log", "Log records: search them, keep their store small.")


@app.default
async def search(
    *,
    follow: Annotated[
        bool, Parameter(name=("--follow", "-f"), negative=(), help="Go on with what comes.")
    ] = False,
    agent: Annotated[str | None, Parameter(help="Only of this agent (id or name).")] = None,
    session: Annotated[str | None, Parameter(help="Only of this session.")] = None,
    task: Annotated[str | None, Parameter(help="Only of this task.")] = None,
    trace: Annotated[str | None, Parameter(help="Only of this trace.")] = None,
    level: Annotated[Level | None, Parameter(help="From this level on.")] = None,
    error_type: Annotated[str | None, Parameter(help="Only errors of this class.")] = None,
    since: Since = None,
    until: Annotated[str | None, Parameter(help="Before this time, or how long ago.")] = None,
    grep: Annotated[
        str | None,
        Parameter(help="Only with all these words; `word*` is a beginning, ctx.KEY:VALUE a value."),
    ] = None,
    ctx: Annotated[
        tuple[str, ...],
        Parameter(negative=(), help="Only with this value in the context: file=main.py."),
    ] = (),
    limit: Annotated[int, Parameter(help="The newest ones, at most so many.")] = 50,
    common: Common = DEFAULTS,
) -> None:
    """Show what agents and the server said, oldest first.

    Of what is found, the newest records are shown. With -f it begins now, or with --since, and ends
    with Ctrl-C; it goes on over a restart of the server, and a terminal that pauses loses nothing.
    What happened to the work itself is in `session history` and `event`.
    """
    from opscore.cli.remote import connect

    if follow and (common.format == "json" or until is not None):
        raise usage("-f never ends: it goes with -o jsonl, and without --until")
    async with connect(common) as server:
        wanted = given(
            agent=agent,
            session=session,
            task=task,
            trace=trace,
            level=level,
            errorType=error_type,
            since=since,
            until=until,
            q=grep,
            **_context(ctx),
        )
        if follow:
            await _follow(server.logs(**wanted), common.format)
            return
        records = await server.listing("/log", "records", limit, **wanted)
    _print(records[::-1], common.format)


def _print(records: list[Any], form: str) -> None:
    if form == "json":
        print_json(records)
    elif not records and form == "table":
        say("(none)")
    else:
        print_lines(_line(one, form) for one in records)


async def _follow(messages: Any, form: str) -> None:
    async for kind, told in messages:
        if kind == "dropped":
            say(f"… {told['dropped']:,} dropped: more than can be shown")
        elif kind == "log":
            print_lines([_line(told, form)])
            sys.stdout.flush()


def _context(words: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise usage(f"--ctx {word!r} is not key=value")
        found[f"ctx.{key}"] = text
    return found


def _line(one: Any, form: str) -> str:
    return encode(one) if form == "jsonl" else record_line(one)


def record_line(one: Any, *, colours: bool = True) -> str:
    """A record as one line: when, how bad, who, what, and the rest in few words.

    `colours`: when standard output takes them.
    """
    level = f"{plain(one['level']):<8}"
    level = paint(level) if colours else level
    who = one.get("agent") or one.get("agentId") or "server"
    message, operation = one["message"], one["operation"]
    told = message if operation in {message, "log"} else f"{operation}: {message}"
    return f"{plain(one['at'])}  {level}  {plain(who):<16}  {plain(told)}{_rest(one)}"


def _rest(one: Any) -> str:
    parts = [f"{name}={one[field]}" for field, name in _IDS[:2] if one.get(field)]
    if one.get("attempt"):
        parts.append(f"attempt={one['attempt']}")
    if one.get("errorType"):
        parts.append(f"error={one['errorType']}")
    context: dict[str, Any] = one.get("context") or {}
    parts += [
        f"{name}={value if isinstance(value, str) else encode(value)}"
        for name, value in context.items()
    ]
    return "".join(f"  {plain(part)}" for part in parts)


@app.command
async def gc(
    *,
    older_than: Annotated[
        str | None, Parameter(help="Delete what is older (7d); without: as the server keeps them.")
    ] = None,
    max_size: Annotated[
        int | None, Parameter(help="Delete the oldest beyond so many MiB; without: as above.")
    ] = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Only say how many would be deleted.")
    ] = False,
    common: Common = DEFAULTS,
) -> None:
    """Delete log records that are too old or too many.

    The server does so by itself as well. Sessions and the audit are not touched. A key of one
    namespace deletes that one's records, and by age only.
    """
    from opscore.cli.remote import connect

    body = given(
        olderThanSeconds=None if older_than is None else _seconds(older_than),
        maxBytes=None if max_size is None else max_size * 1024 * 1024,
        dryRun=dry_run or None,
    )
    async with connect(common) as server:
        done = await server.post("/log/gc", body)
    if common.format != "table":
        print_json(done)
        return
    word = "would be deleted" if done["dryRun"] else "deleted"
    print_lines([f"{done['outdated']} too old, {done['oversized']} beyond the size: {word}"])


_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _seconds(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in _UNITS:
        raise usage(f"--older-than {text!r} is not a duration", "for example 12h or 7d")
    return int(number) * _UNITS[unit]
