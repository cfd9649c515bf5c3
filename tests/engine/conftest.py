"""What the engine's tests share; errors provoked on purpose are collected, not rendered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import pytest
import structlog

from tests.engine.house import House, opened


@pytest.fixture
async def house() -> AsyncGenerator[House]:
    async with opened() as house:
        yield house


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield
