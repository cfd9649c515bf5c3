"""What templates may read of the server's environment, and that it is kept as it was."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from opscore.core.errors import Impossible, Invalid
from opscore.core.types import SessionStatus
from tests.engine.whole import whole

READS = {"a": {"capability": "work", "with": {"to": "${{ 'https://' + env.REGION }}"}}}


async def test_a_session_keeps_the_environment_that_it_started_with(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    steps = {"first": {"value": 1}, **READS, "b": {"needs": "a", "value": "${{ env }}"}}
    async with whole(url, template_env={"REGION": "eu", "OTHER": "x"}) as w:
        await w.apply(steps, env=["REGION"], output="${{ steps.b.output }}")
        session = await w.ops.start("t")
    async with whole(url, template_env={}) as w:
        (attempt,) = await (worker := await w.worker()).got(1)
        assert msgspec.json.decode(attempt.input) == {"to": "https://eu"}
        await worker.settle(attempt)
        ended = await w.ended(session)
        assert ended.output is not None and msgspec.json.decode(ended.output) == {"REGION": "eu"}


@pytest.mark.parametrize(
    ("allowed", "why"),
    [({}, "is not among those that the server's operator lists"), ({"REGION": None}, "not set")],
)
async def test_a_session_that_reads_what_it_may_not_is_refused(
    allowed: dict[str, str | None], why: str
) -> None:
    async with whole(template_env=allowed) as w:
        await w.apply(READS, env="REGION")
        with pytest.raises(Impossible, match=rf"workflow t reads env\.REGION.*{why}"):
            await w.ops.start("t")
        assert not (await w.ops.list_sessions()).items


async def test_an_onerror_workflow_that_may_not_read_it_is_not_started() -> None:
    async with whole() as w:
        await w.apply(READS, name="tell", env=["REGION"])
        await w.apply({"a": {"value": "${{ input.no }}"}}, onError={"workflow": "tell"})
        session = await w.ops.start("t")
        assert (await w.ended(session)).status is SessionStatus.ERROR
        await w.calm()
        assert len((await w.ops.list_sessions()).items) == 1
        assert not await w.engine.store.outbox()


async def test_a_template_reads_only_what_it_lists() -> None:
    async with whole(template_env={"REGION": "eu"}) as w:
        with pytest.raises(
            Invalid, match="'REGION' is not among the names that the template lists"
        ):
            await w.apply(READS)
