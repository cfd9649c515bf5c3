"""What the engine's tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.engine.house import House, opened


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with opened() as house:
        yield house
