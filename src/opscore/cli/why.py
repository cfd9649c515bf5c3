"""How the commands show what a session or a task waits for."""

from __future__ import annotations

from typing import Any

from opscore.cli.output import Columns, fields, table


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
