"""Which session a trace is of, with as few looks as possible."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opscore.engine.known_traces import KnownTraces
from tests.engine.whole import whole

STRANGE = "f" * 32


async def test_the_first_session_of_a_trace_and_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work"}})
        first = await w.ops.start("t", trace_id="a" * 32)
        w.clock.move(1)
        await w.ops.start("t", trace_id="a" * 32)
        looks: list[str] = []
        read = w.engine.store.sessions

        async def counted(filters: Any, before: Any, limit: int) -> Any:
            looks.append(filters["namespace"])
            return await read(filters, before, limit)

        monkeypatch.setattr(w.engine.store, "sessions", counted)
        known = KnownTraces(w.engine.store)
        wanted = {"a" * 32, STRANGE}
        told = await asyncio.gather(*(known.of("default", wanted) for _ in range(20)))
        assert {each("a" * 32) for each in told} == {first}
        assert {each(STRANGE) for each in told} == {None}
        assert looks == ["default"]
        other = await known.of("elsewhere", wanted)
        assert other("a" * 32) is None
        assert looks == ["default", "elsewhere"]


async def test_a_trace_that_was_no_sessions_may_become_one() -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work"}})
        known = KnownTraces(w.engine.store)
        assert (await known.of("default", {STRANGE}))(STRANGE) is None
        session = await w.ops.start("t", trace_id=STRANGE)
        assert (await known.of("default", {STRANGE}))(STRANGE) is None
        w.clock.move(11)
        assert (await known.of("default", {STRANGE}))(STRANGE) == session
