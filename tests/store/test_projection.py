"""Whatever commands meet, in whatever batches: the rows say what the journal says.

`HYPOTHESIS_PROFILE=deep` looks at many more of them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opscore.core.state import SessionState
from opscore.core.types import SECOND
from opscore.engine.requests import DeleteSession, OnSession
from tests.core.moves import COMMANDS, command_of, inputs, steps
from tests.store.house import House, check, open_house

COUNT = {"quick": 80, "deep": 1_000}[os.environ.get("HYPOTHESIS_PROFILE", "quick")]
SESSIONS = ("ses_a", "ses_b")
words = st.sampled_from((*COMMANDS, "claim", "complete", "pause", "resume", "delete"))
moves = st.tuples(st.sampled_from(SESSIONS), words, st.integers(0, 7))
groups = st.lists(st.lists(moves, min_size=1, max_size=5), min_size=2, max_size=8)


often = settings(
    max_examples=COUNT,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
anything = given(steps(), inputs, groups, st.booleans(), st.integers(0, 8))


@pytest.mark.sqlite
@often
@anything
def test_the_rows_follow_from_the_journal(
    made: dict[str, Any], input: Any, played: list[Any], forgetful: bool, refused: int
) -> None:
    _try(made, input, played, forgetful, refused)


@pytest.mark.postgres
@settings(often, max_examples=COUNT // 5)
@anything
def test_the_rows_follow_from_the_journal_on_postgres(
    made: dict[str, Any], input: Any, played: list[Any], forgetful: bool, refused: int
) -> None:
    _try(made, input, played, forgetful, refused)


def _try(
    made: dict[str, Any], input: Any, played: list[Any], forgetful: bool, refused: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = _play(
            Path(folder) / "ops.db", made, input, played, 1 if forgetful else 1_000, refused
        )
        asyncio.run(run)


async def _play(
    path: Path, made: dict[str, Any], input: Any, played: list[Any], kept: int, refused: int
) -> None:
    async with open_house(path, kept) as house:
        tree = {"name": "t", "version": "1", "steps": made}
        template = house.template(
            {**tree, "onError": {"workflow": "w", "with": "${{ error.message }}"}}
        )
        await asyncio.gather(*[house.start(template, s, input) for s in SESSIONS])
        folded = check(house)
        for number, group in enumerate(played):
            house.now += SECOND
            if number == refused:
                house.refuse_commits()
            await _submit(house, folded, group)
            if number == refused:
                house.allow_commits()
            folded = check(house)
    async with open_house(path) as house:
        check(house)


async def _submit(house: House, folded: dict[str, SessionState], group: list[Any]) -> None:
    """Two batches: the second is decided while the first is being committed."""
    half = len(group) // 2
    async with asyncio.TaskGroup() as both:
        for part in (group[:half], group[half:]):
            both.create_task(_submit_batch(house, folded, part))
            await asyncio.sleep(0)
            await asyncio.sleep(0)


async def _submit_batch(house: House, folded: dict[str, SessionState], group: list[Any]) -> None:
    commands: list[Any] = []
    for session_id, word, n in group:
        state = folded.get(session_id)
        if word == "time":
            house.now += n * 3 * SECOND
        elif word == "delete":
            commands.append(DeleteSession(session_id, "default"))
        elif state is not None:
            commands.append(OnSession(session_id, command_of(state, word, n)))
    await house.all(*commands)
