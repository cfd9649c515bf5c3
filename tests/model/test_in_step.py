"""A model of tasks and attempts in a page, and every store in step with it: identical answers.

`OPSCORE_IN_STEP=10000x50` takes so many courses of so many steps.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import msgspec
import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from opscore.core.errors import Refusal
from opscore.core.types import SECOND, ErrorInfo
from opscore.engine.clock import SystemClock
from opscore.engine.engine import Engine
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.records import SettlementReport
from opscore.engine.settings import Settings
from opscore.engine.tools import TaskRequest
from opscore.store.sqlite import SqliteStore
from tests.torture.life import BEGAN, REPLACED, Time, simulate_time
from tests.torture.loop import SimulatedLoop

COURSES, STEPS = map(int, os.environ.get("OPSCORE_IN_STEP", "30x20").split("x"))
ATTEMPTS = 2
DELAY, LEASE = 5 * SECOND, 15 * SECOND
NEAR = SECOND // 4
T = TypeVar("T")


@dataclass
class Model:
    """One task, as docs/language.md has it: two attempts, five seconds apart."""

    status: str = "available"
    attempt: int = 0
    failures: int = 0
    due: int = 0
    until: int = 0
    settled: tuple[int, str] | None = None

    def pass_to(self, now: int) -> None:
        """What time brings: a lease runs out, a delay is over."""
        if self.status == "running" and self.until <= now:
            self.fail(self.until, "agent_lost")
        if self.status == "scheduled" and self.due <= now:
            self.status = "available"

    def is_near(self, now: int) -> bool:
        """Whether something happens so soon that the next moment decides."""
        at = {"running": self.until, "scheduled": self.due}.get(self.status, 0)
        return abs(at - now) < NEAR or (
            self.status == "running"
            and self.until + DELAY > now - NEAR >= self.until + DELAY - 2 * NEAR
        )

    def fail(self, now: int, error: str) -> None:
        self.failures += 1
        self.settled = (self.attempt, error)
        again = self.failures < ATTEMPTS and error != "fatal"
        self.status, self.due = ("scheduled", now + DELAY) if again else ("failed", 0)

    def settle(self, attempt: int, outcome: str, now: int) -> str:
        """The verdict."""
        if self.status != "running" or attempt != self.attempt:
            known = self.settled == (attempt, outcome) and attempt == self.attempt
            return "recorded" if known else "stale_attempt"
        if outcome == "completed":
            self.status, self.settled = "completed", (attempt, outcome)
        elif outcome == "released":
            self.status, self.settled = "available", (attempt, outcome)
        else:
            self.fail(now, outcome)
        return "recorded"


class InStep(RuleBasedStateMachine):
    """Everything is asked of the model and of each store, and answered alike."""

    tasks: Bundle[int] = Bundle("tasks")
    directory: Path

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop(Random(1), slow=0.0)
        simulate_time(Time(self.loop))
        self.model: list[Model] = []
        self.ids: list[str] = []
        self.number = 0

    @initialize()
    def open(self) -> None:
        InStep.opened += 1
        self.url = f"sqlite:///{self.directory / f'{InStep.opened}.db'}"
        self._start()

    opened = 0

    def _start(self) -> None:
        clock, chance = SystemClock(), Random(self.loop.micros)
        starting = Engine.start(SqliteStore(self.url, clock.now), clock, chance, Settings())
        self.engine = self.run(starting)
        details = AgentDetails(agent_id="agt_worker", agent_name="worker", capabilities=("work",))
        self.run(self.engine.lifecycle.register_agent(details))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it, in simulated time."""
        return self.loop.run_until_complete(self.loop.create_task(work))

    @property
    def now(self) -> int:
        return BEGAN + self.loop.micros

    @rule(target=tasks, count=st.integers(1, 3))
    def enqueue(self, count: int) -> Any:
        first = len(self.ids)
        for _ in range(count):
            request = TaskRequest(
                capability="work",
                retry={"maxAttempts": ATTEMPTS, "backoff": "constant", "initialDelay": "5s"}
                | {"jitter": 0},
            )
            task, _ = self.run(self.engine.orchestration.enqueue_task(request))
            self.ids.append(task)
            self.model.append(Model())
        return multiple(*range(first, len(self.ids)))

    @rule(most=st.integers(1, 4))
    def claim(self, most: int) -> None:
        """The oldest of those that may be claimed, and no other."""
        given = self.run(
            self.engine.orchestration.claim(
                "agt_worker", instance_id="i1", max=most, wait_seconds=0
            )
        )
        available = [n for n, each in enumerate(self.model) if each.status == "available"]
        assert len(given) == min(most, len(available))
        for attempt in given:
            number = self.ids.index(attempt.task_id)
            task = self.model[number]
            assert number in available
            assert attempt.attempt == task.attempt + 1
            task.status, task.attempt = "running", attempt.attempt
            task.until = attempt.lease_until
            assert abs(task.until - self.now - LEASE) < NEAR

    @rule(
        number=tasks,
        back=st.integers(0, 1),
        outcome=st.sampled_from(["completed", "error", "fatal", "released"]),
    )
    def settle(self, number: int, back: int, outcome: str) -> None:
        """By the current attempt, or the one before; sometimes a second time."""
        task = self.model[number]
        attempt = max(1, task.attempt - back)
        failed = outcome in {"error", "fatal"}
        report = SettlementReport(
            *(self.ids[number], attempt, "failed" if failed else outcome),
            msgspec.Raw(b"1"),
            error=ErrorInfo(outcome, "no") if failed else None,
        )
        (verdict,) = self.run(self.engine.orchestration.settle([report]))
        expected = task.settle(attempt, outcome, self.now)
        assert verdict.verdict == expected, (verdict, task)

    @rule(number=tasks, back=st.integers(0, 1))
    def beat(self, number: int, back: int) -> None:
        task = self.model[number]
        attempt = max(1, task.attempt - back)
        stale = not (task.status == "running" and attempt == task.attempt)
        beat = self.engine.orchestration.heartbeat_task(self.ids[number], attempt)
        assert self._refused(beat) == stale
        if not stale:
            task.until = self.now + LEASE

    def _refused(self, verb: Coroutine[Any, Any, None]) -> bool:
        try:
            self.run(verb)
        except Refusal:
            return True
        return False

    @rule(number=consumes(tasks))
    def cancel(self, number: int) -> None:
        """Its session ends at once, unless an attempt runs: then there is a grace, not told here."""
        task = self.model[number]
        if task.status != "running":
            over = task.status in {"completed", "failed", "cancelled"}
            session = f"ses_{self.ids[number][4:].rpartition('-')[0]}"
            assert self._refused(self.engine.orchestration.cancel(session)) == over
            task.status = task.status if over else "cancelled"

    @rule(seconds=st.sampled_from([1, 4, 6, 16]))
    def wait(self, seconds: int) -> None:
        """Until nothing is just about to happen, or has just happened."""
        self.run(asyncio.sleep(seconds))
        while any(task.is_near(self.now) for task in self.model):
            self.run(asyncio.sleep(NEAR / SECOND))
        for task in self.model:
            task.pass_to(self.now)

    @rule()
    def restart(self) -> None:
        """Close, open again: all is as it was, and who holds something has a whole lease."""
        self.run(self.engine.close(0))
        self._start()
        for task in self.model:
            if task.status == "running":
                task.until = self.now + LEASE
        self.wait(1)

    @invariant()
    def the_same_is_shown(self) -> None:
        page = self.run(self.engine.orchestration.list_tasks(limit=200))
        seen = {each.task_id: (each.status, each.attempt, each.failures) for each in page.items}
        for task_id, task in zip(self.ids, self.model, strict=True):
            assert seen[task_id] == (task.status, task.attempt, task.failures), (task_id, task)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.run(self.engine.close(0))
        self.loop.close()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module, name in REPLACED:
        monkeypatch.setattr(module, name, getattr(module, name))
    with structlog.testing.capture_logs():
        yield


@pytest.mark.timeout(36_000)
def test_the_stores_and_the_model_answer_alike(tmp_path: Path) -> None:
    InStep.directory = tmp_path
    given: Mapping[str, Any] = {"max_examples": COURSES, "stateful_step_count": STEPS}
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        InStep, settings=settings(**given, deadline=None, suppress_health_check=quiet)
    )
