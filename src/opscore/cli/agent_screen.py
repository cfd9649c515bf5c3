"""`opscore agent show`: one screen about an agent, what went wrong first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opscore.cli.nextup import Step, command, next_lines
from opscore.cli.output import Columns, fields, table
from opscore.cli.screen import (
    RECORDS,
    Json,
    complaints,
    failed_lines,
    filled,
    heading,
    may_read,
    short_block,
    step_of,
)
from opscore.cli.times import ago, took

if TYPE_CHECKING:
    from opscore.cli.remote import Remote

TASKS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """What the screen is made of: the agent, its tasks that failed and that run, its warnings."""

    agent: Json
    failed: list[Json]
    running: list[Json]
    records: Json | str


async def read(server: Remote, agent: Json) -> Reading:
    """Ask the server what explains how an agent is."""
    name = agent["agentId"]

    async def tasks(status: str) -> list[Json]:
        wanted = {"agent": name, "status": status, "limit": TASKS_SHOWN}
        answer = await may_read(server.get("/task", **wanted))
        return [] if isinstance(answer, str) else answer["tasks"]

    failed, running = await tasks("failed"), await tasks("running")
    wanted = {"agent": name, "level": "warning", "limit": RECORDS}
    return Reading(agent, failed, running, await may_read(server.get("/log", **wanted)))


def lines(reading: Reading) -> Iterator[str]:
    """The screen."""
    agent = reading.agent
    yield from fields(head(agent))
    names = {agent["agentId"]: agent["agentName"]}
    failed = failed_lines(reading.failed, names, len(reading.failed))
    yield from heading("failed last", failed)
    yield from complaints(reading.records)
    if reading.running:
        yield from ("", *table(reading.running, filled(reading.running, _RUNNING)))
    if instances := agent.get("instances"):
        yield from ("", *table(instances, _INSTANCES))
    yield from ("", *fields(_facts(agent)))
    if agent.get("details"):
        yield from short_block("details", agent["details"])
    yield from next_lines(_next(reading))


def load(row: Any) -> str:
    """Slots taken, of all."""
    return f"{row.get('inFlight', 0)}/{row.get('maxInFlight', 0)}"


def head(agent: Json) -> list[tuple[str, object]]:
    """What matters most of an agent."""
    seen = max((one.get("lastSeenAt") or "" for one in agent.get("instances", [])), default="")
    reported = agent.get("reportedState")
    return [
        ("agent", agent.get("agentName")),
        ("id", agent.get("agentId")),
        ("state", agent.get("state")),
        ("reported", reported if reported != agent.get("state") else None),
        ("online", agent.get("online")),
        ("load", load(agent)),
        ("last seen", ago(seen)),
        ("last error", agent.get("lastError")),
    ]


def _facts(agent: Json) -> list[tuple[str, object]]:
    return [
        ("capabilities", ", ".join(agent.get("capabilities", []))),
        ("version", agent.get("version") or None),
        ("channel", agent.get("channel")),
        ("endpoint", agent.get("contactEndpoint")),
        ("labels", agent.get("labels") or None),
        ("metadata", agent.get("metadata") or None),
        ("registered", agent.get("createdAt")),
        ("updated", agent.get("updatedAt")),
        ("told", agent.get("registeredAt")),
    ]


def _next(reading: Reading) -> Iterator[Step]:
    name = reading.agent["agentId"]
    for task in reading.failed[:1]:
        yield "why it failed", command("task show", task["taskId"])
    for task in reading.running[:1]:
        yield "what it works on", command("task show", task["taskId"])
    yield "what it says", command("log", agent=name)
    yield "its tasks", command("task ls", agent=name)
    if reading.agent["state"] == "draining":
        yield "give it work again", command("agent activate", name)
    elif reading.agent.get("online"):
        yield "give it no more work", command("agent drain", name)


_RUNNING: Columns = [
    ("WORKS ON", "taskId"),
    ("STEP", step_of),
    ("ATTEMPT", "attempt"),
    ("INSTANCE", "instanceId"),
    ("TOOK", lambda row: took(row.get("createdAt"), None)),
    ("MESSAGE", lambda row: row.get("progressMessage") or None),
]
_INSTANCES: Columns = [
    ("INSTANCE", "instanceId"),
    ("ONLINE", "online"),
    ("LOAD", load),
    ("CONNECTED", lambda row: ago(row.get("connectedAt"))),
    ("LAST SEEN", lambda row: ago(row.get("lastSeenAt"))),
]
