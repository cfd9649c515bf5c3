"""Rules about agents: their ledgers, their slots, their leases, and what they are told."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.torture.evidence import Event, Evidence, Record
from tests.torture.folding import OVER

Attempt = tuple[str, int]
LOST = frozenset({"agent_lost", "timeout"})
LOSS = frozenset({"task.retried", "task.failed", "task.released", "task.cancelled"})
PRECISION = 2_000
"""Microseconds by which clocks read one after another may differ."""
TOLD_WITHIN = 2_000_000
"""So long after the order to stop, at most, an agent that is connected hears of it."""


@dataclass
class Course:
    """What the journal has of one attempt. `ended`: the event that ended it."""

    claimed: Event
    ended: Event | None = None
    after: list[Event] = field(default_factory=list[Event])


def courses(evidence: Evidence) -> dict[Attempt, Course]:
    """Every attempt that the journal has."""
    found: dict[Attempt, Course] = {}
    for event in evidence.database.events:
        if event.type == "task.claimed":
            found[event.data["task_id"], event.data["attempt"]] = Course(event)
        elif event.type in OVER:
            course = found.get((event.data["task_id"], event.data["attempt"]))
            if course is not None and course.ended is None:
                course.ended = event
            elif course is not None:
                course.after.append(event)
    return found


def _attempt(record: Record) -> Attempt:
    return record["task"], record["attempt"]


def ledgers_belong_to_attempts(evidence: Evidence) -> Iterator[str]:
    """What agents began and effected are attempts that were journalled as theirs."""
    known = courses(evidence)
    for record in (*evidence.of("began"), *evidence.of("effect")):
        course = known.get(_attempt(record))
        if course is None:
            yield f"{record['did']}: attempt {_attempt(record)} was never claimed"
        elif course.claimed.data["instance_id"] != record["instance"]:
            owner = course.claimed.data["instance_id"]
            yield f"{record['did']}: attempt {_attempt(record)} is {owner}'s"


def effects_are_doubled_only_after_a_loss(evidence: Evidence) -> Iterator[str]:
    """A second effect under one key follows an attempt that is recorded as over without it.

    The agents of these tests have an effect only when they complete, so the attempt before was lost:
    it expired, or its instance came back without it.
    """
    known = courses(evidence)
    effects: dict[str, list[Record]] = defaultdict(list)
    for record in evidence.of("effect"):
        effects[record["key"]].append(record)
    for key, records in effects.items():
        if len({record["task"] for record in records}) > 1:
            yield f"key {key} is shared by several tasks"
        attempts = sorted({_attempt(record) for record in records})
        for before, after in pairwise(attempts):
            end = known[before].ended if before in known else None
            claimed = known[after].claimed if after in known else None
            if end is None or end.type not in LOSS:
                yield f"{key}: a second effect by {after}; {before} was not recorded as lost"
            elif claimed is not None and end.position > claimed.position:
                yield f"{key}: {after} was claimed before the loss of {before} was recorded"
        counts = Counter(_attempt(record) for record in records)
        for attempt, count in counts.items():
            if count > 1:
                yield f"{key}: attempt {attempt} was given out {count} times"


def verdicts_are_true(evidence: Evidence) -> Iterator[str]:
    """`recorded` is in the journal as it was reported; what is called stale has recorded nothing."""
    known = courses(evidence)
    for record in evidence.of("verdict"):
        course = known.get(_attempt(record))
        end = course.ended if course is not None else None
        completed = end is not None and end.type == "task.completed"
        match record["verdict"], record["outcome"]:
            case "recorded", "completed" if not completed:
                yield f"{_attempt(record)} completed by its verdict, by journal {_type(end)}"
            case "recorded", "failed" if end is None or end.type not in _FAILED:
                yield f"{_attempt(record)} failed by its verdict, by journal {_type(end)}"
            case "recorded", "released" if end is None or end.type not in _RELEASED:
                yield f"{_attempt(record)} released by its verdict, by journal {_type(end)}"
            case "stale_attempt", "completed" if completed:
                yield f"{_attempt(record)} is completed, but its report was called stale"
            case "unknown_task", _ if course is not None:
                yield f"{_attempt(record)} is journalled, but was called unknown"
            case _:
                continue


_FAILED = frozenset({"task.retried", "task.failed", "task.cancelled"})
_RELEASED = frozenset({"task.released", "task.cancelled"})


def _type(event: Event | None) -> str:
    return "not at all" if event is None else event.type


def slots_are_kept(evidence: Evidence) -> Iterator[str]:
    """No instance holds more attempts than it ever said it takes."""
    slots: dict[str, int] = {}
    for record in evidence.of("connected"):
        slots[record["instance"]] = max(slots.get(record["instance"], 0), record["slots"])
    held: Counter[str] = Counter()
    holder: dict[str, str] = {}
    for event in evidence.database.events:
        task = event.data.get("task_id", "")
        if event.type == "task.claimed":
            instance = holder[task] = event.data["instance_id"]
            held[instance] += 1
            if instance in slots and held[instance] > slots[instance]:
                yield f"{instance} holds {held[instance]} attempts and has {slots[instance]} slots"
        elif event.type in OVER and task in holder:
            held[holder.pop(task)] -= 1


class Timeline:
    """From what the server's clock showed to the time in journals."""

    def __init__(self, evidence: Evidence) -> None:
        lives = sorted(evidence.run("life"), key=lambda life: int(life["after"]))
        self._from = [int(life["after"]) for life in lives]
        self._offset = [int(life["offset"]) for life in lives]

    def true(self, event: Event) -> int:
        """When it happened, by the time in journals."""
        life = bisect_right(self._from, event.position - 1) - 1
        return event.at - (self._offset[life] if life >= 0 else 0)


def nobody_is_lost_early(evidence: Evidence) -> Iterator[str]:
    """No attempt is declared lost while the lease of its claim or of an answered beat runs."""
    timeline = Timeline(evidence)
    lease = max((int(record["micros"]) for record in evidence.run("lease")), default=0)
    beats: dict[Attempt, list[int]] = defaultdict(list)
    for record in evidence.of("beat"):
        beats[_attempt(record)].append(record["at"])
    for attempt, course in courses(evidence).items():
        end = course.ended
        if end is None or end.data.get("error_class") != "agent_lost":
            continue
        length = course.claimed.data["heartbeat"] or lease
        last = max([timeline.true(course.claimed), *beats[attempt]])
        if timeline.true(end) < last + length - PRECISION:
            early = last + length - timeline.true(end)
            yield f"{attempt} was declared lost {early} µs before its lease was over"


def told_to_stop(evidence: Evidence) -> Iterator[str]:
    """After the calm began, agents that work on what is to end are told so."""
    calm = evidence.run("calm")
    if not calm:
        return
    timeline = Timeline(evidence)
    told: dict[Attempt, int] = {}
    for record in evidence.of("told"):
        told.setdefault(_attempt(record), record["at"])
    known = courses(evidence)
    listening = {_attempt(record) for record in evidence.of("began") if record.get("stream")}
    running: dict[str, dict[str, Attempt]] = defaultdict(dict)
    for event in evidence.database.events:
        task = event.data.get("task_id", "")
        if event.type == "task.claimed":
            running[event.session][task] = (task, event.data["attempt"])
        elif event.type in OVER:
            running[event.session].pop(task, None)
        elif event.type == "session.stopping" and event.position > calm[0]["after"]:
            by = timeline.true(event) + TOLD_WITHIN
            for attempt in listening & {*running[event.session].values()}:
                end = known[attempt].ended
                over = timeline.true(end) if end is not None else by + 1
                if over > by and told.get(attempt, over) > by:
                    yield f"{attempt} runs on, and its agent was not told to stop"
