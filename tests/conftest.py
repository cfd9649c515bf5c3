"""What all tests share: how one has set up the log is not the next one's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """Half of one setup and half of another break whatever logs next."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
