"""What the operator's terminal shows, read at one moment; rows of it as plain cells."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opscore.cli.agent_screen import load
from opscore.cli.exits import NOT_FOUND, Stop
from opscore.cli.output import plain
from opscore.cli.times import age, ago, took

if TYPE_CHECKING:
    from opscore.cli.remote import Remote

Json = dict[str, Any]

AGENTS = 200
WORKFLOW = 24
"""Columns for a workflow with its version."""
OPEN = 50
ENDED = 30
OPEN_WORDS = ("processing", "waiting", "paused")
URGENT = ("error", "offline", "draining", "active", "initializing", "idle", "unknown")
"""Agents in the order in which an operator looks at them."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: its key, its cells, and the word that gives it a colour."""

    key: str
    cells: tuple[str, ...]
    state: str = ""

    def has(self, text: str) -> bool:
        """Whether a filter lets it through."""
        return text.lower() in " ".join((self.key, *self.cells)).lower()


@dataclass(frozen=True, slots=True)
class Board:
    """Agents, sessions and queues of one namespace."""

    agents: Sequence[Json] = ()
    sessions: Sequence[Json] = ()
    queues: Sequence[Json] = ()
    by_id: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Agents and sessions."""


AGENT_COLUMNS = ("AGENT", "STATE", "LOAD", "SEEN", "LAST ERROR")
SESSION_COLUMNS = ("STATUS", "WORKFLOW", "STARTED", "TOOK", "SESSION")
QUEUE_COLUMNS = ("CAPABILITY", "WAIT", "OLDEST", "RUN", "LATER")


async def read_board(server: Remote) -> Board:
    """Ask the server for all of it. Raises `Stop`."""
    agents = await server.listing("/agent", "agents", AGENTS)
    found: list[Json] = []
    for word in OPEN_WORDS:
        found += await server.listing("/session", "sessions", OPEN, status=word)
    found += await server.listing("/session", "sessions", ENDED)
    # One that changes while all this is read is in two lists; the later one is right.
    sessions = {one["sessionId"]: one for one in found}
    by_id = {**{one["agentId"]: one for one in agents}, **sessions}
    queues = await _queues(server)
    return Board(sorted(agents, key=_urgency), [*sessions.values()], queues, by_id)


async def _queues(server: Remote) -> list[Json]:
    """A server that knows no queues, an older one, has none to show."""
    try:
        return await server.listing("/queue", "queues", AGENTS)
    except Stop as stop:
        if stop.code != NOT_FOUND:
            raise
        return []


def _urgency(agent: Json) -> tuple[int, str]:
    state = agent["state"]
    return URGENT.index(state) if state in URGENT else len(URGENT), agent["agentName"]


def agent_rows(board: Board) -> list[Row]:
    """Agents: state, slots taken, when it last gave a sign of life (which renews its leases)."""
    return [
        Row(
            one["agentId"],
            _cells(
                one["agentName"],
                one["state"],
                load(one),
                ago(_seen(one)) or "never",
                one.get("lastError") or "",
            ),
            one["state"],
        )
        for one in board.agents
    ]


def _seen(agent: Json) -> str:
    instances: Iterable[Json] = agent.get("instances") or ()
    return max((one.get("lastSeenAt") or "" for one in instances), default="")


def session_rows(board: Board) -> list[Row]:
    """Sessions: open ones first."""
    return [
        Row(
            one["sessionId"],
            _cells(
                one["status"],
                textwrap.shorten(f"{one['workflow']} {one['version']}", WORKFLOW, placeholder=" …"),
                ago(one["createdAt"]),
                took(one["createdAt"], one.get("finishedAt")),
                one["sessionId"],
            ),
            one["status"],
        )
        for one in board.sessions
    ]


def queue_rows(board: Board) -> list[Row]:
    """Queues: what may be claimed, for how long the first has existed, what runs, what is later."""
    return [
        Row(
            one["capability"] or "",
            _cells(
                one["capability"] or "(an agent by name)",
                one["available"],
                age(one["oldestSeconds"]) if one["oldestSeconds"] is not None else "",
                one["running"],
                one["scheduled"] + one["blocked"],
            ),
            "waiting" if one["available"] else "",
        )
        for one in board.queues
    ]


def _cells(*values: object) -> tuple[str, ...]:
    return tuple("" if value is None else plain(value) for value in values)
