"""Where the model's sessions live: a clock, what agents answer, and what was seen of them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

Micros = int
SECOND: Micros = 1_000_000
UNITS = {"ms": SECOND // 1000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
UNITS["d"] = 24 * UNITS["h"]


def micros(text: str) -> Micros:
    """A duration as templates write it."""
    total, digits, unit = 0, "", ""
    for each in [*text, "0"]:
        if each.isdigit() and unit:
            total, digits, unit = total + int(digits) * UNITS[unit], each, ""
        elif each.isdigit():
            digits += each
        else:
            unit += each
    return total


class _Anything:
    """Equal to everything: stands for what the language leaves open, such as a message."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "…"


ANYTHING: Any = _Anything()


@dataclass(frozen=True)
class Key:
    """One attempt: of which session, step, item, member of the chain, how many before, which."""

    path: str
    step: str
    index: int | None
    member: int
    ordinal: int
    attempt: int


@dataclass(frozen=True)
class Answer:
    """What an agent does with one attempt.

    It completes, or fails with the class `error`, `after` so long; `silent` it is never heard of
    again; `deaf` it does not stop when it is told to.
    """

    output: Any = None
    error: str | None = None
    retry_after: int | None = None
    silent: bool = False
    deaf: bool = False
    after: Micros = SECOND


@dataclass(frozen=True)
class Decision:
    """What a person does so long after being asked: `approve`, `reject` or `edit`."""

    verb: str
    by: str
    after: Micros
    details: Any = None


@dataclass(frozen=True)
class Play:
    """Everything that comes to a session from outside: the same for the model and the engine.

    `templates`: the first is started, the others may be started by it. `signals` are (name, id,
    payload, after); `approvals` go by the name of a step, of another workflow as `workflow/step`.
    """

    templates: Sequence[Mapping[str, Any]]
    input: Any
    nobody: frozenset[str]
    signals: Sequence[tuple[str, str, Any, Micros]]
    approvals: Mapping[str, Sequence[Decision]]
    env: Mapping[str, str]
    cancel_after: Micros


@dataclass
class Ended:
    """How a session ended. `error` is (class, message)."""

    status: str
    steps: dict[str, str]
    output: Any
    error: Any
    at: Micros


@dataclass
class Seen:
    """Everything that came of a play. `attempts`: when each began, and with which input."""

    sessions: dict[str, Ended] = field(default_factory=dict[str, Ended])
    attempts: dict[Key, tuple[Micros, Any]] = field(default_factory=dict[Key, tuple[Micros, Any]])
    refused: list[tuple[Micros, str]] = field(default_factory=list[tuple[Micros, str]])


class World:
    """A clock that jumps from one thing to the next."""

    def __init__(self, play: Play, answer: Callable[[Key], Answer]) -> None:
        self.play = play
        self.answer = answer
        self.now: Micros = 0
        self.seen = Seen()
        self._due: list[tuple[Micros, int, Callable[[], None]]] = []
        self._soon: deque[Callable[[], object]] = deque()
        self._number = count()

    def at(self, time: Micros, action: Callable[[], None]) -> None:
        """Do it at that time."""
        heapq.heappush(self._due, (time, next(self._number), action))

    def soon(self, action: Callable[[], object]) -> None:
        """Do it before time moves, once what is being done is done."""
        self._soon.append(action)

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._soon or self._due:
            if self._soon:
                self._soon.popleft()()
            else:
                self.now, _, action = heapq.heappop(self._due)
                action()
