"""The books of one session, kept from its journal alone: who did what, how often, and when.

Everything the demo claims is read from here, and here is nothing but events of the public API.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from opscore.wire.session import EventView

STEP = "measure"
"""The step with one task a file."""
ENDED = {
    "session.completed": "completed",
    "session.failed": "error",
    "session.cancelled": "cancelled",
}
_OUTCOMES = {
    "task.completed": "completed",
    "task.retried": "failed",
    "task.failed": "failed",
    "task.released": "released",
    "task.cancelled": "cancelled",
}


class Gap(Exception):
    """The journal misses an event: the books cannot be right."""


class _Facts(msgspec.Struct, rename="camel"):
    """The fields that the demo reads, whichever event they stand in."""

    task_id: str = ""
    step: str = ""
    index: int | None = None
    member: int = 0
    agent: str | None = None
    attempt: int = 0
    instance_id: str = ""
    error_class: str = ""
    message: str = ""
    items: list[Any] = []


@dataclass(slots=True)
class Tried:
    """One attempt. Times are seconds since the epoch by the server's clock."""

    number: int
    instance: str
    position: int
    began: float
    ended: float | None = None
    outcome: str = ""
    error_class: str = ""


@dataclass(slots=True)
class Entry:
    """One task."""

    task_id: str
    step: str
    index: int | None
    member: int
    agent: str | None
    position: int
    attempts: list[Tried] = field(default_factory=list[Tried])
    over: bool = False

    @property
    def running(self) -> bool:
        """Does an attempt of it run?"""
        return bool(self.attempts) and self.attempts[-1].ended is None

    @property
    def claimed_at(self) -> int | None:
        """The position of its first claim in the store's journal."""
        return self.attempts[0].position if self.attempts else None


class Ledger:
    """Fold a session's events into tasks and counts. `files` is what the fan-out went over."""

    def __init__(self) -> None:
        self.tasks: dict[str, Entry] = {}
        self.files: list[str] = []
        self.completions: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.fallbacks = 0
        self.seq = 0
        self.position = 0
        self.status = "processing"
        self.message = ""

    def add(self, event: EventView) -> None:
        """Take the next event. Raises `Gap` when one before it is missing."""
        if event.seq != self.seq + 1:
            raise Gap(f"event {event.seq} came after event {self.seq}")
        self.seq, self.position = event.seq, event.position
        self.counts[event.type] += 1
        facts = msgspec.json.decode(event.data, type=_Facts)
        match event.type:
            case "step.expanded" if facts.step == STEP:
                self.files = [str(item) for item in facts.items]
            case "task.created":
                self._created(event, facts)
            case "task.claimed":
                tried = Tried(facts.attempt, facts.instance_id, event.position, _seconds(event.at))
                self.tasks[facts.task_id].attempts.append(tried)
            case "fallback.valued":
                self._recorded(self.tasks[facts.task_id])
                self.fallbacks += 1
            case name if name in _OUTCOMES:
                self._settled(event, facts)
            case name if name in ENDED:
                self.status, self.message = ENDED[name], facts.message
            case _:
                pass

    def _created(self, event: EventView, facts: _Facts) -> None:
        self.tasks[facts.task_id] = Entry(
            facts.task_id, facts.step, facts.index, facts.member, facts.agent, event.position
        )
        self.fallbacks += facts.member > 0

    def _settled(self, event: EventView, facts: _Facts) -> None:
        entry = self.tasks[facts.task_id]
        if facts.attempt:
            tried = entry.attempts[-1]
            tried.ended, tried.outcome = _seconds(event.at), _OUTCOMES[event.type]
            tried.error_class = facts.error_class
        entry.over = event.type not in {"task.retried", "task.released"}
        if event.type == "task.completed":
            self._recorded(entry)

    def _recorded(self, entry: Entry) -> None:
        if entry.step == STEP and entry.index is not None:
            self.completions[entry.index] += 1

    @property
    def over(self) -> bool:
        """Has the session ended?"""
        return self.status != "processing"

    @property
    def share(self) -> float:
        """The share of the files that have a result."""
        return len(self.completions) / len(self.files) if self.files else 0.0

    @property
    def lost(self) -> list[str]:
        """The files without a recorded completion."""
        return [file for index, file in enumerate(self.files) if not self.completions[index]]

    @property
    def doubled(self) -> list[str]:
        """The files with more than one recorded completion."""
        return [file for index, file in enumerate(self.files) if self.completions[index] > 1]

    def of_files(self) -> Iterator[Entry]:
        """The tasks that measure files, fallbacks too."""
        return (entry for entry in self.tasks.values() if entry.step == STEP)

    def of_file(self, file: str) -> list[Entry]:
        """The tasks of one file: the first, then its fallbacks."""
        return [e for e in self.of_files() if e.index is not None and self.files[e.index] == file]

    def file(self, entry: Entry) -> str:
        """The file that a task is about."""
        assert entry.index is not None, "only the fan-out's tasks are about a file"
        return self.files[entry.index]

    def lost_by(self, instance: str) -> list[Entry]:
        """The tasks of which an attempt ended because this instance fell silent."""
        return [
            entry
            for entry in self.tasks.values()
            if any(t.instance == instance and t.error_class == "agent_lost" for t in entry.attempts)
        ]

    def given_up(self) -> list[Entry]:
        """The tasks that failed for good, so that a fallback followed."""
        return [
            e
            for e in self.of_files()
            if e.attempts and e.over and e.attempts[-1].outcome == "failed"
        ]

    def overtaken(self, created: int, claimed: int) -> int:
        """How many tasks waited before position `created`, and still did at `claimed`."""
        return sum(
            entry.position < created and (entry.claimed_at is None or entry.claimed_at > claimed)
            for entry in self.tasks.values()
        )


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
