"""Durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opscore.core.durations import MAX_DURATION, parse_duration, show_duration


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1ms", 1_000),
        ("500ms", 500_000),
        ("1s", 1_000_000),
        ("5m", 300_000_000),
        ("1h", 3_600_000_000),
        ("1d", 86_400_000_000),
        ("30d", MAX_DURATION),
        ("1m30s", 90_000_000),
        ("1h0m1s5ms", 3_601_005_000),
    ],
)
def test_durations(text: str, micros: int) -> None:
    assert parse_duration(text) == micros


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "0s", "-1s", "1.5s", "1 s", "1S", "31d", "30d1ms", "1s1m", "1s1s", "1w", "１s"],
)
def test_not_durations(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize("text", ["9" * 5000 + "s", "1s\n", "0" * 100 + "1s"])
def test_odd_texts_are_not_durations(text: str) -> None:
    assert parse_duration(text) is None


@given(st.integers(1, MAX_DURATION // 1000))
def test_what_is_shown_is_read_back(millis: int) -> None:
    assert parse_duration(show_duration(millis * 1000)) == millis * 1000
