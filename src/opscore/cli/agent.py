"""`opscore agent …`."""

from __future__ import annotations

from typing import Annotated, Any, cast

from cyclopts import Parameter

from opscore.cli import agent_screen, exits
from opscore.cli.app import noun
from opscore.cli.inputs import given, labels, read_json
from opscore.cli.output import Columns, fields, print_lines, print_list, print_one, say
from opscore.cli.settings import DEFAULTS, Common

app = noun("agent", "Agents: what they can do and what they are doing.")

AgentName = Annotated[str, Parameter(help="The agent's id, or its name.")]
Limit = Annotated[int, Parameter(help="At most this many.")]
Why = Annotated[str, Parameter(help="Why, for the record.")]
Labels = Annotated[tuple[str, ...], Parameter(name="--label", negative=(), help="key=value.")]


@app.command
async def ls(
    *,
    capability: Annotated[str | None, Parameter(help="Only those with this capability.")] = None,
    state: Annotated[str | None, Parameter(help="Only those in this state.")] = None,
    label: Annotated[str | None, Parameter(help="Only those with this key=value.")] = None,
    query: Annotated[str | None, Parameter(help="Only those with this text.")] = None,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """List agents."""
    from opscore.cli.remote import connect

    async with connect(common) as server:
        wanted = given(capability=capability, state=state, label=label, q=query)
        agents = await server.listing("/agent", "agents", limit, **wanted)
    columns: Columns = [
        ("AGENT", "agentName"),
        ("ID", "agentId"),
        ("STATE", "state"),
        ("LOAD", agent_screen.load),
        ("INSTANCES", lambda row: sum(one["online"] for one in row.get("instances", []))),
        ("CHANNEL", "channel"),
        ("CAPABILITIES", lambda row: ", ".join(row.get("capabilities", []))),
    ]
    print_list(agents, columns, common.format)


@app.command
async def show(agent: AgentName, /, *, common: Common = DEFAULTS) -> None:
    """Show an agent on one screen: how it is, what failed, what it does, what to do next.

    -o json has the agent alone, and all of it.
    """
    from opscore.cli.remote import connect

    async with connect(common) as server:
        found = await find(server, agent)
        if common.format != "table":
            print_one(found, fields_of, common.format)
            return
        reading = await agent_screen.read(server, found)
    print_lines(agent_screen.lines(reading))


@app.command
async def register(
    name: Annotated[str, Parameter(help="The agent's name.")],
    /,
    *,
    capability: Annotated[
        tuple[str, ...], Parameter(negative=(), help="What it can do; may be repeated.")
    ] = (),
    agent_id: Annotated[str | None, Parameter(help="An id of your own.")] = None,
    agent_version: Annotated[str, Parameter(help="The agent's version.")] = "",
    channel: Annotated[
        str,
        Parameter(help="How tasks reach it: stream, http, agentkit, or another of the server's."),
    ] = "stream",
    contact_endpoint: Annotated[str | None, Parameter(help="Where it is called.")] = None,
    max_in_flight: Annotated[int, Parameter(help="Tasks at once.")] = 1,
    label: Labels = (),
    metadata: Annotated[str | None, Parameter(help="A JSON object, or @file.")] = None,
    common: Common = DEFAULTS,
) -> None:
    """Register an agent, or change the registration it has."""
    from opscore.cli.remote import connect

    body = given(
        agentName=name,
        agentId=agent_id,
        version=agent_version,
        capabilities=list(capability),
        channel=channel,
        contactEndpoint=contact_endpoint,
        maxInFlight=max_in_flight,
        labels=labels(label),
        metadata=read_json(metadata, "--metadata") if metadata else None,
    )
    async with connect(common) as server:
        made = await server.post("/agent", body)
    print_one(made, _registered, common.format)


@app.command
async def drain(
    agent: AgentName,
    /,
    *,
    deadline: Annotated[
        float | None, Parameter(help="Seconds after which leases are released.")
    ] = None,
    reason: Why = "",
    common: Common = DEFAULTS,
) -> None:
    """Let an agent finish what it has, and give it nothing more."""
    body = given(deadlineSeconds=deadline, reason=reason)
    await _change(common, agent, "drain", body)


@app.command
async def activate(agent: AgentName, /, *, common: Common = DEFAULTS) -> None:
    """Give a drained agent work again."""
    await _change(common, agent, "activate", None)


@app.command
async def rm(agent: AgentName, /, *, common: Common = DEFAULTS) -> None:
    """Deregister an agent; its history stays."""
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        found = await find(server, agent)
        await server.delete(f"/agent/{part(found['agentId'])}")
    say(f"deregistered {found['agentName']} ({found['agentId']})")


@app.command
async def refresh(*, common: Common = DEFAULTS) -> None:
    """Ask AgentKit now how it is and, where its version tells, which agents it has."""
    from opscore.cli.remote import connect

    async with connect(common) as server:
        told = await server.post("/internal/agent/refresh")
    print_one(told, _agentkit_view, common.format)


def _registered(made: Any) -> list[str]:
    """What counts of a new agent; what its calls are signed with is told only now."""
    return fields([*agent_screen.head(made), ("signing secret", made.get("signingSecret"))])


def _agentkit_view(told: Any) -> list[str]:
    age = told.get("ageSeconds")
    return fields(
        [
            ("agentkit", told["url"]),
            ("reachable", told["reachable"]),
            ("last answer", None if age is None else f"{age:.0f} s ago"),
            ("lists agents", told["listsAgents"]),
            ("error", told.get("error")),
        ]
    )


async def _change(common: Common, agent: str, verb: str, body: object) -> None:
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        found = await find(server, agent)
        answer = await server.post(f"/agent/{part(found['agentId'])}/{verb}", body)
    record = answer or {}
    say(f"{found['agentName']} ({found['agentId']}): {record.get('state', verb)}")
    if common.format != "table":
        print_one(record, fields_of, common.format)


async def find(server: Any, name: str) -> dict[str, Any]:
    """The agent of that id or, when there is none, the only one of that name.

    Raises `Stop` with exit code 3 when there is neither.
    """
    from opscore.cli.remote import part

    try:
        return cast("dict[str, Any]", await server.get(f"/agent/{part(name)}"))
    except exits.Stop as stop:
        if stop.code != exits.NOT_FOUND:
            raise
        named = await server.listing("/agent", "agents", 1000, q=name)
        same = [one for one in named if one["agentName"] == name]
        if len(same) != 1:
            raise
        return cast("dict[str, Any]", same[0])


def fields_of(record: Any) -> list[str]:
    """Every field of a flat record."""
    return fields(record.items())
