"""The checker finds what it is there to find, and nothing in a history in which all is well."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.torture import folding
from tests.torture.checker import RULES, check
from tests.torture.story import LEASE, T1, T2, S, Story, clean

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
Wrong = Callable[[Story], object]


def change(story: Story, position: int, **data: object) -> None:
    events = story.database.events
    old = events[position - 1]
    events[position - 1] = old._replace(data={**old.data, **data})


def move(story: Story, position: int, at: float) -> None:
    events = story.database.events
    events[position - 1] = events[position - 1]._replace(at=round(at * S))


def lost_session(s: Story) -> None:
    s.request("session.start", {"sessionId": "ses_b"}, key="k2", mark="m2")


def lost_signal(s: Story) -> None:
    s.request("session.signal", {}, session="ses_a", signal="g1")


def lost_cancel(s: Story) -> None:
    s.request("session.cancel", {}, session="ses_a")


def lost_task(s: Story) -> None:
    s.request("task.enqueue", {"sessionId": "ses_a", "taskId": "tsk_a-9"}, mark="m1")


def second_session(s: Story) -> None:
    s.event("session.started", 3, "ses_b")
    s.event("session.completed", 3, "ses_b")
    s.row("ses_b", "completed")


def twice_the_signal(s: Story) -> None:
    s.event("signal.received", 22, signal_id="g1")
    s.event("signal.received", 22, signal_id="g1")


def nobody_asked(s: Story) -> None:
    second_session(s)
    change(s, len(s.database.events) - 1, context={})


def other_answer(s: Story) -> None:
    s.request("session.start", {"sessionId": "ses_b"}, key="k1", mark="m1")


def gap(s: Story) -> None:
    del s.database.events[4]


def no_row(s: Story) -> None:
    del s.database.sessions["ses_a"]


def off_the_graph(s: Story) -> None:
    s.event("task.retried", 22, attempt=2)


def attempt_out_of_turn(s: Story) -> None:
    change(s, 6, attempt=3)


def needing(s: Story, status: str, **step: object) -> None:
    steps = {"work": {}, "then": {"needs": "work", **step}}
    s.database.templates["default", "w", "1"] = {"steps": steps}
    s.event("session.started", 30, "ses_b", input={"go": False})
    if status:
        s.event(f"step.{status}", 30, "ses_b", step="work")


def began_before_its_needs(s: Story) -> None:
    needing(s, "")
    s.event("task.created", 31, "ses_b", task_id=T2, step="then")


def began_after_a_failure(s: Story) -> None:
    needing(s, "failed")
    s.event("task.created", 31, "ses_b", task_id=T2, step="then")


def began_without_a_failure(s: Story) -> None:
    needing(s, "completed", when="failed")
    s.event("task.created", 31, "ses_b", task_id=T2, step="then")


def began_against_its_condition(s: Story) -> None:
    needing(s, "completed", **{"if": "${{ input.go }}"})
    s.event("task.created", 31, "ses_b", task_id=T2, step="then")


def skipped_for_nothing(s: Story) -> None:
    needing(s, "completed")
    s.event("step.skipped", 31, "ses_b", step="then")


def step_ended_twice(s: Story) -> None:
    needing(s, "completed")
    s.event("step.completed", 31, "ses_b", step="work")


def completed_twice(s: Story) -> None:
    s.event("task.completed", 22, attempt=2)


def completed_by_the_older(s: Story) -> None:
    change(s, 7, attempt=1)


def too_many_failures(s: Story) -> None:
    s.database.templates["default", "w", "1"] = {"steps": {"work": {"retry": {"maxAttempts": 0}}}}


def undone_too_often(s: Story, failures: int = 11) -> None:
    s.database.templates["default", "w", "1"] = {"steps": {"work": {"compensate": {}}}}
    s.event("session.started", 30, "ses_b")
    s.event("task.created", 30, "ses_b", task_id=T2, member=-1)
    for attempt in range(1, failures + 1):
        s.event("task.retried", 31, "ses_b", task_id=T2, attempt=attempt)


def before_its_time(s: Story) -> None:
    change(s, 4, due=21 * S)


def waited_too_little(s: Story) -> None:
    s.event("session.started", 30, "ses_b")
    s.event("step.waiting", 30, "ses_b", step="nap", kind="wait", due=40 * S)
    s.event("session.paused", 31, "ses_b")
    s.event("session.resumed", 36, "ses_b")
    s.event("step.completed", 44, "ses_b", step="nap")


def limited(s: Story, limit: int = 1, rate: str | None = None) -> None:
    key = None if rate else "gpu"
    terms = {"concurrency": key, "limit": limit, "rate": rate, "starts": 1, "per": 60 * S}
    s.event("session.started", 30)
    for task in ("tsk_a-3", "tsk_a-4"):
        s.event("task.created", 31, task_id=task, terms=terms)
        s.event("task.claimed", 31, task_id=task)


def over_the_rate(s: Story) -> None:
    limited(s, rate="api")


def two_admitted(s: Story) -> None:
    terms = {"concurrency": "one", "limit": 1}
    for session in ("ses_b", "ses_c"):
        s.event("session.started", 30, session)
        s.event("session.held", 30, session, terms=terms)
        s.event("session.admitted", 30, session)


def not_admitted(s: Story) -> None:
    s.event("session.started", 30, "ses_b")
    s.event("session.held", 30, "ses_b", terms={"concurrency": "one", "limit": 1})
    s.event("task.created", 31, "ses_b", task_id=T2)
    s.event("task.claimed", 32, "ses_b", task_id=T2)


def too_many_slots(s: Story) -> None:
    s.event("task.created", 31, task_id=T2)
    s.event("task.claimed", 32, task_id=T2)
    s.event("task.created", 31, task_id="tsk_a-3")
    s.event("task.claimed", 32, task_id="tsk_a-3")


def recorded_and_lost(s: Story) -> None:
    s.agent("verdict", 1, outcome="completed", verdict="recorded")


def stale_and_recorded(s: Story) -> None:
    s.agent("verdict", 2, outcome="completed", verdict="stale_attempt")


def failed_and_completed(s: Story) -> None:
    s.agent("verdict", 2, outcome="failed", verdict="recorded")


def not_claimed(s: Story) -> None:
    s.agent("effect", 3, key=T1)


def somebody_else_s(s: Story) -> None:
    s.agents.append({"did": "began", "instance": "i2", "task": T1, "attempt": 1})


def second_effect(s: Story) -> None:
    change(s, 4, attempt=0)


def effect_before_the_loss(s: Story) -> None:
    events = s.database.events
    lost = events[3]
    events[3:7] = [*events[4:7], lost]
    events[:] = [each._replace(position=at) for at, each in enumerate(events, 1)]


def twice_the_same_attempt(s: Story) -> None:
    s.agent("effect", 2, key=T1)


def shared_key(s: Story) -> None:
    s.agent("effect", 1, "tsk_a-7", key=T1)


def lost_early(s: Story) -> None:
    move(s, 4, 3 + LEASE / S - 1)


def lost_early_by_a_jump(s: Story) -> None:
    s.clients.append({"did": "life", "offset": 3600 * S, "after": 3})


def not_told(s: Story) -> None:
    s.event("session.started", 30, "ses_b")
    s.event("task.created", 30, "ses_b", task_id=T2)
    s.event("task.claimed", 30, "ses_b", task_id=T2)
    s.agent("began", 1, T2, stream=True)
    s.event("session.stopping", 31, "ses_b")
    s.event("task.cancelled", 41, "ses_b", task_id=T2, attempt=1)


def served_otherwise(s: Story) -> None:
    s.served("processing", "completed")


def step_served_otherwise(s: Story) -> None:
    s.served("completed", "running")


def output_served_otherwise(s: Story) -> None:
    s.served("completed", "completed", 7)


def stored_otherwise(s: Story) -> None:
    s.task_row(T1, "completed", 2, 0)


def still_running(s: Story) -> None:
    s.event("session.started", 30, "ses_b")


def left_over(s: Story) -> None:
    s.database.left["leases"] = 1


def audit_changed(s: Story) -> None:
    s.database.audit[0] = {**s.database.audit[0], "actor": "operator:eve"}


def audit_cut(s: Story) -> None:
    del s.database.audit[0]


def audit_end_cut(s: Story) -> None:
    del s.database.audit[1]


WRONGS: dict[str, list[Wrong]] = {
    "accepted_is_there": [lost_session, lost_signal, lost_cancel, lost_task],
    "nothing_is_invented": [nobody_asked],
    "once_per_key": [second_session, twice_the_signal],
    "same_key_same_answer": [other_answer],
    "journal_has_no_gap": [gap, no_row],
    "graph_is_kept": [off_the_graph, attempt_out_of_turn, step_ended_twice],
    "steps_follow_their_template": [
        *(began_before_its_needs, began_after_a_failure, began_without_a_failure),
        *(began_against_its_condition, skipped_for_nothing),
    ],
    "one_completion": [completed_twice, completed_by_the_older],
    "budget_is_kept": [too_many_failures, undone_too_often],
    "nothing_before_its_time": [before_its_time, waited_too_little],
    "concurrency_is_kept": [limited],
    "sessions_are_admitted": [two_admitted, not_admitted],
    "rates_are_kept": [over_the_rate],
    "slots_are_kept": [too_many_slots],
    "verdicts_are_true": [recorded_and_lost, stale_and_recorded, failed_and_completed],
    "ledgers_belong_to_attempts": [not_claimed, somebody_else_s],
    "effects_are_doubled_only_after_a_loss": [
        *(second_effect, effect_before_the_loss, twice_the_same_attempt, shared_key)
    ],
    "nobody_is_lost_early": [lost_early, lost_early_by_a_jump],
    "told_to_stop": [not_told],
    "fold_is_served": [
        *(served_otherwise, step_served_otherwise, output_served_otherwise, stored_otherwise)
    ],
    "calm_ends_everything": [still_running, left_over],
    "audit_is_whole": [audit_changed, audit_cut, audit_end_cut],
}


def test_a_clean_history_passes() -> None:
    assert check(clean().evidence) == []


def test_every_rule_has_its_wrong_history() -> None:
    assert [rule.__name__ for rule in RULES] == [*WRONGS]


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [(rule, wrong) for rule, wrongs in WRONGS.items() for wrong in wrongs],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_a_violation_is_found_by_its_rule(rule: str, wrong: Wrong) -> None:
    story = clean()
    wrong(story)
    evidence = story.evidence
    (found,) = [each for each in RULES if each.__name__ == rule]
    assert [*found(evidence)]


def test_undoing_is_tried_more_often_than_doing() -> None:
    story = clean()
    undone_too_often(story, failures=10)
    assert not [v for v in check(story.evidence) if v.rule == "budget_is_kept"]


def test_a_limit_that_has_room_is_none_of_its_business() -> None:
    story = clean()
    limited(story, limit=2)
    assert not [v for v in check(story.evidence) if v.rule == "concurrency_is_kept"]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, and those of this folder that these import."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    for name in [*names]:
        prefix, _, last = name.rpartition(".")
        if prefix == "tests.torture":
            names |= imported(HERE / f"{last}.py")
    return names


def test_the_checker_imports_nothing_of_the_product() -> None:
    names = imported(HERE / "checker.py")
    assert "tests.torture.evidence" in names
    assert not [name for name in names if name.partition(".")[0] == "opscore"]
    ours = {name for name in names if name.startswith("tests.")}
    assert all(name.startswith("tests.torture.") for name in ours)


def declared(heading: str) -> dict[str, set[str]]:
    """The graph that docs/architecture.md draws under a heading."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    drawn = page.partition(f"### {heading}\n")[2].partition("```\n")[0]
    graph: dict[str, set[str]] = {}
    for line in drawn.splitlines():
        before, arrow, after = line.strip().partition(" --> ")
        if arrow:
            graph.setdefault("" if before == "[*]" else before, set()).update({after} - {"[*]"})
    return graph


@pytest.mark.parametrize(
    ("heading", "graph"),
    [
        ("Session", folding.SESSION_GRAPH),
        ("Step", {"": {"pending"}, **folding.STEP_GRAPH}),
        ("Task", folding.TASK_GRAPH),
    ],
)
def test_the_checker_holds_the_declared_graph(heading: str, graph: dict[str, set[str]]) -> None:
    assert declared(heading) == graph
