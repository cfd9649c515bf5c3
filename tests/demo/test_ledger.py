"""The books that the demo keeps from a session's journal."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from opscore.demo.ledger import Gap, Ledger
from opscore.wire.session import EventView


def book(*events: tuple[str, dict[str, Any]]) -> Ledger:
    made = Ledger()
    for seq, (kind, data) in enumerate(events, start=1):
        made.add(event(seq, kind, data))
    return made


def event(seq: int, kind: str, data: dict[str, Any]) -> EventView:
    return EventView(
        event_id=str(seq),
        position=seq * 10,
        session_id="ses_1",
        agent_id=None,
        seq=seq,
        at=f"2026-01-01T00:00:{seq:02}.500000Z",
        type=kind,
        version=1,
        data=msgspec.Raw(msgspec.json.encode(data)),
    )


EXPANDED = ("step.expanded", {"step": "measure", "items": ["a.py", "b.py"]})


def made(task: str, index: int, member: int = 0) -> tuple[str, dict[str, Any]]:
    data = {"taskId": task, "step": "measure", "index": index, "member": member, "agent": None}
    return "task.created", data


def claimed(task: str, attempt: int = 1, by: str = "one") -> tuple[str, dict[str, Any]]:
    return "task.claimed", {"taskId": task, "attempt": attempt, "instanceId": by}


def ended(
    kind: str, task: str, attempt: int = 1, why: str | None = None
) -> tuple[str, dict[str, Any]]:
    data: dict[str, Any] = {"taskId": task, "attempt": attempt}
    return f"task.{kind}", data if why is None else {**data, "errorClass": why, "message": "no"}


def test_a_job_through_a_lost_agent_and_a_fallback() -> None:
    found = book(
        EXPANDED,
        made("t1", 0),
        made("t2", 1),
        claimed("t1"),
        claimed("t2"),
        ended("retried", "t1", 1, "agent_lost"),
        ended("failed", "t2", 1, "fatal"),
        made("t3", 1, member=1),
        claimed("t1", 2, by="two"),
        ended("completed", "t1", 2),
        claimed("t3", by="careful"),
        ended("completed", "t3"),
        ("session.completed", {"output": None}),
    )
    assert found.over
    assert found.status == "completed"
    assert (found.lost, found.doubled, found.fallbacks) == ([], [], 1)
    assert [entry.task_id for entry in found.lost_by("one")] == ["t1"]
    assert [entry.task_id for entry in found.given_up()] == ["t2"]
    assert [entry.task_id for entry in found.of_file("b.py")] == ["t2", "t3"]
    first, second = found.tasks["t1"].attempts
    assert (first.outcome, second.outcome) == ("failed", "completed")
    assert first.ended is not None
    assert first.ended - first.began == 2
    assert all(entry.over for entry in found.tasks.values())


def test_what_is_lost_and_what_is_doubled_is_seen() -> None:
    found = book(
        EXPANDED,
        made("t1", 0),
        made("t2", 1),
        claimed("t1"),
        ended("completed", "t1"),
        ended("completed", "t1"),
    )
    assert found.doubled == ["a.py"]
    assert found.lost == ["b.py"]
    assert found.share == 0.5
    assert not found.over
    assert not found.tasks["t2"].over


def test_what_is_overtaken_was_made_before_and_is_claimed_after() -> None:
    found = book(EXPANDED, made("t1", 0), made("t2", 1), claimed("t1"), claimed("t2"))
    assert found.overtaken(created=35, claimed=45) == 1
    assert found.overtaken(created=35, claimed=35) == 2
    assert found.overtaken(created=25, claimed=45) == 0
    assert found.overtaken(created=35, claimed=99) == 0


def test_a_missing_event_is_noticed() -> None:
    with pytest.raises(Gap):
        book().add(event(2, *EXPANDED))
