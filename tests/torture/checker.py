"""The independent checker: do journals, ledgers and the event log tell one and the same story?

It imports nothing of the product, reads the database by plain SQL, and folds journals with a fold of
its own. `python -m tests.torture.checker DATABASE JOURNAL… ` judges what a test left on disk: client
journals end in `.client`, agents' ledgers in `.agent`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tests.torture.evidence import Evidence, read_lines, read_sqlite
from tests.torture.rules_agents import (
    effects_are_doubled_only_after_a_loss,
    ledgers_belong_to_attempts,
    nobody_is_lost_early,
    slots_are_kept,
    told_to_stop,
    verdicts_are_true,
)
from tests.torture.rules_limits import concurrency_is_kept, rates_are_kept, sessions_are_admitted
from tests.torture.rules_requests import (
    accepted_is_there,
    nothing_is_invented,
    once_per_key,
    same_key_same_answer,
)
from tests.torture.rules_work import (
    audit_is_whole,
    budget_is_kept,
    calm_ends_everything,
    fold_is_served,
    graph_is_kept,
    journal_has_no_gap,
    nothing_before_its_time,
    one_completion,
    steps_follow_their_template,
)

Rule: TypeAlias = Callable[[Evidence], Iterator[str]]

RULES: Sequence[Rule] = (
    accepted_is_there,
    nothing_is_invented,
    once_per_key,
    same_key_same_answer,
    journal_has_no_gap,
    graph_is_kept,
    steps_follow_their_template,
    one_completion,
    budget_is_kept,
    nothing_before_its_time,
    concurrency_is_kept,
    sessions_are_admitted,
    rates_are_kept,
    slots_are_kept,
    verdicts_are_true,
    ledgers_belong_to_attempts,
    effects_are_doubled_only_after_a_loss,
    nobody_is_lost_early,
    told_to_stop,
    fold_is_served,
    calm_ends_everything,
    audit_is_whole,
)


ROOT = Path(__file__).parents[2]


class Violation(NamedTuple):
    """What was not as promised."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def check(evidence: Evidence) -> list[Violation]:
    """Everything that is wrong; empty when all promises were kept."""
    return [Violation(rule.__name__, what) for rule in RULES for what in rule(evidence)]


def main(arguments: Sequence[str]) -> int:
    """Judge a database and the journals of its clients and agents."""
    database, *journals = map(Path, arguments)
    evidence = Evidence(
        read_lines(*(path for path in journals if path.suffix == ".client")),
        read_lines(*(path for path in journals if path.suffix == ".agent")),
        read_sqlite(database),
    )
    found = check(evidence)
    for violation in found:
        print(violation)
    print(f"{len(evidence.database.events)} events, {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
