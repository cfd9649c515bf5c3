"""Sequence diagrams are drawn from journals, and leave out nothing that was recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest

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


def test_each_journal_becomes_a_diagram_headed_by_its_name() -> None:
    text = "\n".join(json.dumps(each) for each in JOURNAL)
    journals = {
        "02-an-API-call.jsonl": text + "\n\n",
        "01-lifecycle.jsonl": json.dumps(JOURNAL[0]),
    }
    headings = [line for line in sequence.diagrams(journals).splitlines() if line.startswith("#")]
    assert headings == ["### Lifecycle", "### An API call"]


@pytest.mark.parametrize(
    ("actor", "source"),
    [("operator:ada", "caller"), ("system:opscore", "core"), ("agent:m", "agent_m")],
)
def test_an_event_comes_from_its_actor(actor: str, source: str) -> None:
    changed = event(
        0, "agent.state_changed", agent="m", previous="idle", state="draining", actor=actor
    )
    assert f"    {source}->>core: agent state changed idle → draining" in sequence.draw([changed])
