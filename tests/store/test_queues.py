"""What moves a task in, out of and within its queue: the rows after each step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from opscore.core import commands as cmd
from opscore.core.task import Failed, Released
from opscore.core.types import SECOND, ErrorInfo
from opscore.engine.requests import OnSession
from tests.store.house import check, open_house

TREE = {
    "name": "two",
    "version": "1",
    "steps": {
        "a": {"capability": "work", "retry": {"initialDelay": "1s", "jitter": 0}},
        "own": {"capability": "work", "priority": 80, "fallback": [{"capability": "other"}]},
    },
}
WHO = "operator:o"
A, OWN = "tsk_a-1", "tsk_a-2"
PAUSE, RESUME = cmd.Pause("", WHO), cmd.Resume("", WHO)
TO_80, TO_20 = cmd.UpdateSession(80, None, None, WHO), cmd.UpdateSession(20, None, None, WHO)
CLAIM = cmd.Claim(A, "agt_1", "i1")
RELEASE = cmd.Settle(A, 1, Released("back"), 0.5)
FAIL = cmd.Settle(A, 1, Failed(ErrorInfo("boom", "")), 0.5)
MOVE, MOVE_BACK = cmd.ReprioritiseTask(A, 99), cmd.ReprioritiseTask(A, 1)
STORIES: dict[str, Sequence[cmd.SessionCommand]] = {
    "paused and resumed": (PAUSE, RESUME),
    "moved in a pause": (PAUSE, MOVE, RESUME),
    "moved, paused, moved, resumed": (MOVE, PAUSE, MOVE_BACK, RESUME),
    "moved, paused, cancelled": (MOVE, PAUSE, cmd.CancelTask(A, "")),
    "the session's priority meets a step's own": (TO_80, TO_20),
    "a new priority in a pause": (PAUSE, TO_80, RESUME, CLAIM),
    "a new priority while it runs": (CLAIM, TO_80, RELEASE, TO_20),
    "released in a pause": (CLAIM, PAUSE, RELEASE, RESUME),
    "a retry comes due in a pause": (CLAIM, PAUSE, FAIL, cmd.TaskDue(A), RESUME),
    "a new priority while it waits for its time": (CLAIM, FAIL, TO_80, cmd.TaskDue(A)),
    "tried by hand": (CLAIM, FAIL, cmd.RetryTask(A, WHO), MOVE),
    "given up by hand in a pause": (PAUSE, cmd.FallbackTask(OWN, WHO), RESUME),
    "cancelled in a pause": (CLAIM, PAUSE, cmd.Cancel("", WHO, SECOND), RELEASE),
}


@pytest.mark.parametrize("together", [False, True], ids=["apart", "together"])
@pytest.mark.parametrize("story", STORIES)
async def test_the_rows_follow(tmp_path: Path, story: str, together: bool) -> None:
    async with open_house(tmp_path / "ops.db") as house:
        await house.start(house.template(TREE), "ses_a", {})
        house.now += 2 * SECOND
        commands = [OnSession("ses_a", command) for command in STORIES[story]]
        answers: list[object] = []
        if together:
            answers += await house.all(*commands)
        else:
            for command in commands:
                house.now += 2 * SECOND
                answers += await house.all(command)
                check(house)
        late = together and any(isinstance(c.command, cmd.TaskDue) for c in commands)
        assert late or answers == [None] * len(commands)
        check(house)
