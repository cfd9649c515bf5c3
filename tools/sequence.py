"""Sequence diagrams drawn from recorded journals (`docs/journals/*.jsonl`).

A journal has one JSON object a line, in the order in which things happened:

    {"at": 1700000000000000, "type": "task.claimed", "sessionId": "ses_1", "data": {"task_id": "tsk_1-1", ...}}

`at` is in microseconds since the Unix epoch; `type` and `data` are those of the product's events. An agent's event
has `agentId` in place of `sessionId`. A recorder that watches more than the journal adds `http.request` (data: method,
path), `http.response` (data: status) and `heartbeat`. Types without an arrow of their own are drawn from whoever the
event names as its actor, else from the agent, else as a step inside Ops-Core, so nothing that was recorded is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CALLER = "caller"
CORE = "core"
AGENT = "agent"

LONGEST_LABEL = 72
WORTH_A_NOTE = 500_000
"""Microseconds between two events from which the diagram says that time passed."""

ARROWS: Mapping[str, tuple[str, str, str]] = {
    "http.request": (CALLER, CORE, "{method} {path}"),
    "http.response": (CORE, CALLER, "{status}"),
    "session.started": (CALLER, CORE, "start {workflow} {template_version}"),
    "session.completed": (CORE, CALLER, "session completed"),
    "session.failed": (CORE, CALLER, "session failed, {error_class}"),
    "session.cancelled": (CORE, CALLER, "session cancelled"),
    "task.created": (CORE, CORE, "queue {task} for {target}"),
    "task.available": (CORE, CORE, "{task} may be claimed"),
    "task.claimed": (CORE, AGENT, "{task}, attempt {attempt}"),
    "task.completed": (AGENT, CORE, "{task} completed, attempt {attempt}"),
    "task.retried": (AGENT, CORE, "{task} failed, {error_class}, to be retried"),
    "task.released": (AGENT, CORE, "{task} given back, {reason}"),
    "task.failed": (AGENT, CORE, "{task} failed for good, {error_class}"),
    "task.cancelled": (CORE, AGENT, "cancel {task}"),
}


@dataclass(slots=True)
class Drawing:
    """What has been drawn so far, and what earlier events told about tasks."""

    participants: dict[str, str] = field(
        default_factory=lambda: {CALLER: "Caller", CORE: "Ops-Core"}
    )
    lines: list[str] = field(default_factory=list[str])
    names: dict[str, str] = field(default_factory=dict[str, str])
    holders: dict[str, str] = field(default_factory=dict[str, str])
    last: int | None = None

    def add(self, event: Mapping[str, Any]) -> None:
        data = {snake(key): value for key, value in event.get("data", {}).items()}
        task = str(data.get("task_id", ""))
        self.learn(event["type"], task, data)
        agent = event.get("agentId") or data.get("agent_id") or self.holders.get(task)
        source, target, label = arrow_of(event["type"], data, bool(agent))
        self.note_gap(int(event["at"]))
        words = label.format_map(Known({**data, "task": self.names.get(task, task)}))
        ends = [self.participant(end, agent) for end in (source, target)]
        self.lines.append(f"    {ends[0]}->>{ends[1]}: {plain(words)}")

    def learn(self, kind: str, task: str, data: dict[str, Any]) -> None:
        if kind == "task.created":
            index = data.get("index")
            self.names[task] = data.get("step", task) + (f"[{index}]" if index is not None else "")
            data["target"] = data.get("agent") or data.get("capability") or "any agent"
        elif kind == "task.claimed":
            self.holders[task] = data["agent_id"]

    def note_gap(self, at: int) -> None:
        if self.last is not None and at - self.last >= WORTH_A_NOTE:
            self.lines.append(f"    Note over {CORE}: {(at - self.last) / 1_000_000:.1f} s later")
        self.last = at

    def participant(self, end: str, agent: str | None) -> str:
        """The Mermaid name of one end of an arrow; agents appear when they are first met."""
        if end != AGENT:
            return end
        if agent is None:
            return CORE
        alias = "agent_" + re.sub(r"\W", "_", agent)
        self.participants.setdefault(alias, plain(agent))
        return alias


class Known(dict[str, Any]):
    """Words for a label; one that the event does not have shows as a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


def arrow_of(kind: str, data: Mapping[str, Any], has_agent: bool) -> tuple[str, str, str]:
    if kind in ARROWS:
        return ARROWS[kind]
    words = kind.replace(".", " ").replace("_", " ")
    if "from" in data and "to" in data:
        words += " {from} → {to}"
    elif "previous" in data and "state" in data:
        words += " {previous} → {state}"
    if data.get("reason") and data["reason"] not in words:
        words += ", {reason}"
    return (source_of(data, has_agent), CORE, words)


def source_of(data: Mapping[str, Any], has_agent: bool) -> str:
    """Who caused an event: its actor (`kind:name`), or the agent that it is about."""
    kind = str(data.get("actor", "")).partition(":")[0]
    if kind in ("operator", "system"):
        return CALLER if kind == "operator" else CORE
    return AGENT if has_agent else CORE


def snake(name: str) -> str:
    """`taskId` and `task_id` are the same word."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found[1].lower(), name)


def plain(text: str) -> str:
    """Without the characters that mean something to Mermaid, on one line, and not too long."""
    text = " ".join(re.sub(r"[;#<>{}]", " ", str(text)).split())
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def draw(events: Iterable[Mapping[str, Any]]) -> str:
    """A Mermaid sequence diagram of the events, in their order."""
    drawing = Drawing()
    for event in events:
        drawing.add(event)
    used = "\n".join(drawing.lines)
    heads = [
        f"    participant {alias} as {name}"
        for alias, name in drawing.participants.items()
        if re.search(rf"\b{alias}\b", used)
    ]
    return "\n".join(["```mermaid", "sequenceDiagram", *heads, *drawing.lines, "```"])


def read(journal: str) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in journal.splitlines() if line.strip()]


def diagrams(journals: Mapping[str, str]) -> str:
    """One diagram a journal, of its text by its file's name: `01-a-workflow.jsonl` is headed "A workflow"."""
    parts = [f"### {title_of(name)}\n\n{draw(read(journals[name]))}" for name in sorted(journals)]
    return "\n\n".join(parts) or "No journal has been recorded yet."


def title_of(name: str) -> str:
    words = re.sub(r"^\d+-", "", Path(name).stem).replace("-", " ")
    return words[:1].upper() + words[1:]
