"""How the commands show what a session or a task waits for."""

from __future__ import annotations

from typing import Any

from opscore.cli.output import Columns, fields, plain, table
from opscore.cli.screen import fold
from opscore.cli.times import ago

WAITS_SHOWN = 6


def why_lines(answer: Any) -> list[str]:
    """The reasons as a table, or that there are none."""
    reasons = answer.get("reasons", [])
    if not reasons:
        return [f"nothing: it is {answer.get('taskStatus') or answer.get('status')}"]
    shown = table(reasons, _REASONS)
    agents = [agent for reason in reasons for agent in reason.get("agents", [])]
    if agents:
        shown += ["", *table(agents, _AGENTS)]
    attempts = [attempt for reason in reasons for attempt in reason.get("attempts", [])]
    if attempts:
        shown += ["", *table(attempts, _ATTEMPTS)]
    return [*fields([("status", answer.get("status"))]), "", *shown]


def waits(answer: Any) -> list[str]:
    """The reasons in a line each, for a screen that has more to say."""
    shown: list[str] = []
    for reason in answer.get("reasons", [])[:WAITS_SHOWN]:
        where = f"{plain(reason['step'])}: " if reason.get("step") else ""
        since = ago(reason.get("since"))
        shown += fold(
            f"  {where}{plain(reason['message'])}" + (f", since {since}" if since else ""), 4
        )
    return shown


_REASONS: Columns = [
    ("STEP", "step"),
    ("TASKS", "count"),
    ("SINCE", "since"),
    ("WAITS FOR", "message"),
]
_AGENTS: Columns = [
    ("AGENT", "agentName"),
    ("IS", "availability"),
    ("IN FLIGHT", lambda row: f"{row.get('inFlight', 0)}/{row.get('slots', 0)}"),
    ("WITH", lambda row: ", ".join(row.get("busyWith", [])) or None),
]
_ATTEMPTS: Columns = [
    ("TASK", "taskId"),
    ("ATTEMPT", "attempt"),
    ("AGENT", "agentId"),
    ("INSTANCE", "instanceId"),
    ("SINCE", "since"),
]
