"""Sequence diagrams are drawn from journals, and leave out nothing that was recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools import sequence


def event(at: int, kind: str, agent: str | None = None, **data: Any) -> dict[str, Any]:
    owner = {"agentId": agent} if agent else {"sessionId": "ses_1"}
    return {"at": at, "type": kind, **owner, "data": data}


JOURNAL = [
    event(0, "agent.registered", agent="measurer-1"),
    event(1, "agent.state", agent="measurer-1", **{"from": "initializing", "to": "idle"}),
    event(2, "http.request", method="POST", path="/v1/opscore/session"),
    event(3, "session.started", workflow="health", template_version="1"),
    event(4, "task.created", task_id="tsk_1-1", step="measure", index=0, capability="measure"),
    event(5, "task.claimed", task_id="tsk_1-1", attempt=1, agent_id="measurer-1"),
    event(6, "task.retried", task_id="tsk_1-1", attempt=1, error_class="rate_limited"),
    event(1_000_006, "task.available", taskId="tsk_1-1"),
    event(1_000_007, "task.claimed", taskId="tsk_1-1", attempt=2, agentId="measurer-1"),
    event(1_000_008, "task.completed", taskId="tsk_1-1", attempt=2),
    event(1_000_009, "journal.surprise"),
    event(1_000_010, "session.completed"),
]


def test_draws_who_told_whom_what_and_when_time_passed() -> None:
    assert sequence.draw(JOURNAL).splitlines() == [
        "```mermaid",
        "sequenceDiagram",
        "    participant caller as Caller",
        "    participant core as Ops-Core",
        "    participant agent_measurer_1 as measurer-1",
        "    agent_measurer_1->>core: agent registered",
        "    agent_measurer_1->>core: agent state initializing → idle",
        "    caller->>core: POST /v1/opscore/session",
        "    caller->>core: start health 1",
        "    core->>core: queue measure[0] for measure",
        "    core->>agent_measurer_1: measure[0], attempt 1",
        "    agent_measurer_1->>core: measure[0] failed, rate_limited, to be retried",
        "    Note over core: 1.0 s later",
        "    core->>core: measure[0] may be claimed",
        "    core->>agent_measurer_1: measure[0], attempt 2",
        "    agent_measurer_1->>core: measure[0] completed, attempt 2",
        "    core->>core: journal surprise",
        "    core->>caller: session completed",
        "```",
    ]


def test_participants_that_never_speak_are_left_out() -> None:
    assert "caller" not in sequence.draw(JOURNAL[:2])


def test_text_that_means_something_to_mermaid_is_made_plain() -> None:
    assert sequence.plain("a;b\n#c <d>") == "a b c d"
    assert len(sequence.plain("x" * 500)) == sequence.LONGEST_LABEL


def test_each_journal_of_a_folder_becomes_a_headed_diagram(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(each) for each in JOURNAL)
    (tmp_path / "02-an-api-call.jsonl").write_text(text + "\n\n", encoding="utf-8")
    (tmp_path / "01-lifecycle.jsonl").write_text(json.dumps(JOURNAL[0]), encoding="utf-8")
    headings = [line for line in sequence.diagrams(tmp_path).splitlines() if line.startswith("#")]
    assert headings == ["### Lifecycle", "### An api call"]
