"""`opscore event`: what happens to every session and agent, as it happened or as it happens."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from opscore.cli.agent import find
from opscore.cli.exits import usage
from opscore.cli.inputs import given
from opscore.cli.output import encode, plain, print_json, print_lines
from opscore.cli.settings import DEFAULTS, Common

WIDTH = 24
"""Of the column with the types: the longest usual one."""


async def event(
    *,
    follow: Annotated[
        bool, Parameter(name=("--follow", "-f"), negative=(), help="Go on with what happens.")
    ] = False,
    session: Annotated[str | None, Parameter(help="Only those of this session.")] = None,
    agent: Annotated[
        str | None, Parameter(help="Only those of this agent (id or name) and its tasks.")
    ] = None,
    workflow: Annotated[str | None, Parameter(help="Only those of this workflow.")] = None,
    capability: Annotated[str | None, Parameter(help="Only those of tasks for this one.")] = None,
    kind: Annotated[
        tuple[str, ...],
        Parameter(negative=(), help="Only this type (task.failed) or first word (task)."),
    ] = (),
    after: Annotated[
        int | None, Parameter(help="Begin after the event with this position; 0: the first.")
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """Show what happened to sessions and agents; with -f what happens now.

    Without -f it begins with the first event and ends with the newest, with -f it begins now and
    ends with Ctrl-C; `--after` says otherwise. It goes on over a restart of the server.
    """
    from opscore.cli.remote import connect

    if follow and common.format == "json":
        raise usage("-o json is one document, which following never ends", "use -o jsonl with -f")
    async with connect(common) as server:
        wanted = given(
            session=session,
            agent=(await find(server, agent))["agentId"] if agent else None,
            workflow=workflow,
            capability=capability,
            type=",".join(kind) or None,
            after=0 if after is None and not follow else after,
            follow=None if follow else False,
        )
        await _show(server.feed(**wanted), common.format)


async def _show(events: Any, form: str) -> None:
    found: list[Any] = []
    async for one in events:
        if form == "json":
            found.append(one)
            continue
        print_lines([encode(one) if form == "jsonl" else event_line(one)])
        sys.stdout.flush()
    if form == "json":
        print_json(found)


def event_line(one: Any) -> str:
    """An event as one line: when, what, of whom, and the facts."""
    whose = one.get("sessionId") or one.get("agentId") or "-"
    told: dict[str, Any] = one.get("data") or {}
    facts = {name: value for name, value in told.items() if value is not None}
    return f"{plain(one['at'])}  {plain(one['type']):<{WIDTH}}  {plain(whose)}  {encode(facts)}"
