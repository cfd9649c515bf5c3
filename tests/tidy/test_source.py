"""The product's own source obeys the tidy rules."""

from __future__ import annotations

import pytest

from tests.tidy import exceptions, rules
from tests.tidy.source import ROOT, Finding, sources

EVERYWHERE = ("src", "tests", "tools", "benchmarks", "examples")


def listed(findings: list[Finding]) -> str:
    return "\n".join(str(each) for each in findings)


@pytest.mark.parametrize("rule", rules.FOR_SOURCE, ids=lambda rule: rule.__name__)
def test_the_source_is_tidy(rule: rules.Rule) -> None:
    looked_at = list(sources("src"))
    findings = [each for source in looked_at for each in rule(source)]
    assert looked_at
    assert not findings, listed(findings)


@pytest.mark.parametrize("rule", rules.FOR_ALL, ids=lambda rule: rule.__name__)
def test_everything_is_tidy(rule: rules.Rule) -> None:
    looked_at = list(sources(*EVERYWHERE))
    findings = [each for source in looked_at for each in rule(source)]
    assert looked_at
    assert not findings, listed(findings)


def test_every_excepted_folder_exists() -> None:
    gone = [
        each
        for each in (
            *exceptions.CLOCK_AND_CHANCE,
            *exceptions.SQL,
            *exceptions.TASKS,
            *exceptions.QUOTING,
        )
        if each.endswith("/") and not (ROOT / each).is_dir()
    ]
    assert not gone
