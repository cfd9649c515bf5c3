"""Random templates under random commands: what holds for every session, whatever happens to it.

`HYPOTHESIS_PROFILE=deep` looks at many more of them.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opscore.core import commands as cmd
from opscore.core.progress import Refused
from opscore.core.types import SESSION_ENDED, SessionStatus, StepStatus, TaskStatus
from opscore.engine.journal import raw
from tests.core.moves import command_of, inputs, moves, steps
from tests.core.scene import Scene, completed

QUICK = {"quick": 60, "deep": 5_000}[os.environ.get("HYPOTHESIS_PROFILE", "quick")]
MODERATE = settings(
    max_examples=QUICK,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def play(scene: Scene, played: list[tuple[str, int]]) -> None:
    for word, n in played:
        if word == "time":
            scene.later(n * 3)
        else:
            scene.do(command_of(scene.state, word, n))


def calm(scene: Scene) -> None:
    """Everything that can happen by itself happens, and every attempt succeeds."""
    if scene.status is SessionStatus.PAUSED:
        scene.done(cmd.Resume("", "operator:o"))
    for _ in range(200):
        scene.advance()
        if scene.status in SESSION_ENDED:
            return
        for child in scene.children():
            if child.due is not None:
                scene.now = max(scene.now, child.due)
                scene.done(cmd.ChildDue(child.child_id))
            else:
                scene.child_over(child)
        for task in list(scene.state.tasks.values()):
            if task.status is TaskStatus.SCHEDULED:
                scene.due(task)
            elif task.status is TaskStatus.AVAILABLE:
                scene.do(cmd.Claim(task.task_id, "agt_1", "i1"))
            elif task.status is TaskStatus.RUNNING:
                scene.do(cmd.Settle(task.task_id, task.attempt, completed(), 0.0))
        for step in scene.state.waits():
            answer_wait(scene, step)
    raise AssertionError("a session that is left in peace must end")


def answer_wait(scene: Scene, name: str) -> None:
    """Its time comes, or somebody answers."""
    step = scene.state.steps[name]
    if step.status is not StepStatus.WAITING:
        return  # the one before ended the session
    if step.due is not None:
        scene.now = max(scene.now, step.due)
        scene.done(cmd.TimerDue(name))
    elif step.approval is None:
        scene.done(cmd.Signal("go", f"calm-{len(scene.events)}", raw(b"1"), "operator:o"))
    else:
        seen = step.approval.content_hash
        for who in ("ada", "eve"):
            scene.do(cmd.Approve(name, who, "", seen))


@MODERATE
@given(steps(), inputs, moves, st.sampled_from([None, "10s"]))
def test_every_session_keeps_its_invariants_and_ends_when_left_in_peace(
    made: dict[str, Any], input: Any, played: list[tuple[str, int]], total: str | None
) -> None:
    extra: dict[str, Any] = {} if total is None else {"timeout": {"total": total}}
    scene = Scene(
        made, input=input, onError={"workflow": "w", "with": "${{ error.message }}"}, **extra
    )
    scene.start(versions={"w": "1"})
    play(scene, played)
    calm(scene)


@MODERATE
@given(steps(), inputs, moves)
def test_a_settlement_counts_once(
    made: dict[str, Any], input: Any, played: list[tuple[str, int]]
) -> None:
    scene = Scene(made, input=input)
    scene.start(versions={"w": "1"})
    play(scene, played)
    for task in list(scene.state.tasks.values()):
        again = cmd.Settle(task.task_id, task.attempt, completed("again"), 0.0)
        if task.status is not TaskStatus.RUNNING:
            before = len(scene.events)
            answer = scene.do(again)
            assert len(scene.events) == before
            assert isinstance(answer, Refused) is (task.status is not TaskStatus.COMPLETED)
