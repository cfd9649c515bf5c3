"""What the engine's tests share."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.engine.house import House, opened


@pytest.fixture
async def house() -> AsyncGenerator[House]:
    async with opened() as house:
        yield house
