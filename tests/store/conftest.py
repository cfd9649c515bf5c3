"""The tests provoke errors on purpose; what is logged of them is collected, not rendered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests.stores import pytest_generate_tests, store_kind

__all__ = ["pytest_generate_tests", "store_kind"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield
