"""Rehearsals: real decisions, mocked agents, simulated time."""

from __future__ import annotations

import textwrap
from typing import Any

import msgspec
import pytest

from opscore.core.errors import Invalid
from opscore.rehearsal import Outcome, read_mocks, rehearse


def template(steps: dict[str, Any], name: str = "t", **rest: Any) -> str:
    tree = {"name": name, "version": "1", "steps": steps, **rest}
    return msgspec.json.encode(tree).decode()


def played(mocks: str, *templates: str) -> Outcome:
    [case] = read_mocks(textwrap.dedent(mocks), "mocks.yaml")[0]
    return rehearse([(f"{at}.json", each) for at, each in enumerate(templates)], case)


ONE = template({"a": {"capability": "c", "retry": 2}}, output="${{ steps.a.output }}")


def test_answers_come_in_order_and_the_last_one_repeats() -> None:
    three = template({n: {"capability": "c", "with": {"n": n}} for n in ("a", "b", "d")})
    found = played("{capabilities: {c: [{output: 1}, {error: x}, {output: 2}]}}", three)
    assert found.mistakes == ()
    assert found.attempts == {"a": 1, "b": 2, "d": 1}
    assert found.inputs == {"a": [{"n": "a"}], "b": [{"n": "b"}], "d": [{"n": "d"}]}


def test_an_output_may_be_made_of_the_input() -> None:
    text = template({"a": {"capability": "c", "with": {"n": 2}}}, output="${{ steps.a.output }}")
    found = played("steps: {a: {output: {double: '${{ input.n * 2 }}'}}}", text)
    assert found.output == {"double": 4}


def test_time_jumps_and_is_told() -> None:
    text = template({"a": {"capability": "c", "timeout": "1d", "retry": 1}})
    assert played("steps: {a: {output: 1, after: 20h}}", text).took == 20 * 3_600_000_000
    late = played("{steps: {a: {output: 1, after: 2d}}, expect: {status: error}}", text)
    assert (late.error and late.error.error_class, late.took) == ("timeout", 86_400_000_000)


def test_a_silent_agent_is_lost_and_another_one_with_work_is_not() -> None:
    text = template(
        {
            "a": {"capability": "c", "retry": {"maxAttempts": 2, "initialDelay": "1s"}},
            "b": {"capability": "c", "retry": 1},
        }
    )
    found = played("{steps: {a: [{silent: true}, {output: 1}], b: {output: 1, after: 5m}}}", text)
    assert (found.status, found.attempts) == ("completed", {"a": 2, "b": 1})


def test_who_works_is_not_lost_however_short_the_lease() -> None:
    text = template({"a": {"capability": "c", "timeout": {"heartbeat": "3s"}, "retry": 1}})
    found = played("steps: {a: {output: 1, after: 1h}}", text)
    assert (found.status, found.took) == ("completed", 3_600_000_000)
    lost = played("{steps: {a: {silent: true}}, expect: {status: error}}", text)
    assert (lost.error and lost.error.error_class, lost.took) == ("agent_lost", 3_000_000)


def test_who_is_stopped_the_moment_it_begins_stops() -> None:
    text = template(
        {
            "child": {"workflow": "picky", "with": {}},
            "work": {"capability": "c", "retry": 1},
        }
    )
    picky = template({"a": {"value": 1}}, name="picky", input={"required": ["n"]})
    mocks = "{steps: {work: {output: 1, after: 1h}}, expect: {status: error}}"
    assert played(mocks, text, picky).took == 0


def test_what_is_due_is_done_to_the_microsecond() -> None:
    """Times as floats can be a hair apart: that once cost a whole second."""
    again = {"maxAttempts": 2, "initialDelay": "1s", "jitter": 0}
    steps = {"a": {"capability": "c", "retry": again}, "b": {"capability": "c", "retry": 1}}
    mocks = "steps: {a: [{error: x, after: 1s6ms}, {output: 1, after: 1s}], b: {output: 1, after: 1s502ms}}"
    assert played(mocks, template(steps)).took == 3_006_000


def test_what_nobody_can_do_waits() -> None:
    text = template({"a": {"capability": "c"}})
    found = played("{nobody: [c], expect: {status: waiting, waitingFor: agent}}", text)
    assert (found.mistakes, found.steps) == ((), {"a": "running"})
    text = template({"a": {"capability": "c", "timeout": {"queue": "1h"}}})
    found = played("{nobody: [c], expect: {status: error, error: timeout}}", text)
    assert (found.mistakes, found.took) == ((), 3_600_000_000)


def test_agents_may_have_few_slots() -> None:
    text = template({"a": {"foreach": [1, 2, 3], "capability": "c"}})
    mocks = "{agents: [{name: x, capabilities: [c], slots: 1}], steps: {a: {output: 1, after: 1m}}}"
    assert played(mocks, text).took == 180_000_000


def test_other_workflows_are_mocked_by_their_own_names() -> None:
    failing = template({"a": {"capability": "c", "retry": 1}}, onError={"workflow": "after"})
    after = template({"a": {"capability": "tell"}}, name="after")
    found = played(
        """
        steps: {a: {error: broken}, after/a: {output: 1}}
        expect: {status: error, error: {class: broken, message: mock}, sessions: {after: completed}}
        """,
        failing,
        after,
    )
    assert found.mistakes == ()
    assert found.attempts == {"a": 1, "after/a": 1}


def test_the_same_rehearsal_takes_the_same_course() -> None:
    text = template({"a": {"foreach": list(range(20)), "capability": "c", "retry": 5}})
    mocks = "steps: {a: [{error: x, after: 3s}, {error: y}, {output: 1, after: 1s}]}"
    assert played(mocks, text) == played(mocks, text)


@pytest.mark.parametrize(
    ("expected", "mistake"),
    [
        ("{}", None),
        ("{status: error}", "status: expected error, found completed"),
        ("{output: 2}", "output: expected 2, found 1"),
        ("{error: x}", 'error: expected "x", found none'),
        ("{steps: {a: skipped}}", 'steps.a: expected "skipped", found "completed"'),
        ("{attempts: {a: 2}}", "attempts.a: expected 2, found 1"),
        ("{inputs: {a: [1]}}", "inputs.a: expected [1], found [{}]"),
        ("{sessions: {b: completed}}", 'sessions.b: expected "completed", found null'),
        ("{within: 1s}", "within: expected at most 1s, took 2s"),
        ("{waitingFor: x}", 'waitingFor: expected "x", found None'),
    ],
)
def test_what_is_not_as_expected_is_told(expected: str, mistake: str | None) -> None:
    found = played(f"{{steps: {{a: {{output: 1, after: 2s}}}}, expect: {expected}}}", ONE)
    assert found.mistakes == (() if mistake is None else (mistake,))


def test_a_failure_is_told_with_its_reason() -> None:
    mocks = "{steps: {a: {error: x, message: why}}, expect: {error: {class: y, message: z}}}"
    assert played(mocks, ONE).mistakes == (
        "status: expected completed, found error (x: why)",
        'error: expected "y", found x: why',
        'error: expected a message with "z", found x: why',
    )


def test_a_task_without_a_mock_fails_the_case() -> None:
    words = "step 'a' ran (capability 'c'), and the mocks have no answer for it"
    assert played("{}", ONE).mistakes == (words,)


def test_an_output_that_cannot_be_made_fails_the_case() -> None:
    [mistake] = played("steps: {a: {output: '${{ input.nothing }}'}}", ONE).mistakes
    assert "input.nothing" in mistake


@pytest.mark.parametrize(
    ("mocks", "words"),
    [
        ("{steps: {aa: {output: 1}}}", "step 'aa', which does not exist (did you mean 'a'?)"),
        ("{input: 1}", "the input"),
    ],
)
def test_what_does_not_fit_the_template_is_refused(mocks: str, words: str) -> None:
    text = template({"a": {"capability": "c"}}, input={"type": "object"})
    with pytest.raises(Invalid) as refused:
        played(mocks, text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("mocks", "place", "words"),
    [
        ("[]", (1, 1), "a mocks file must be a mapping"),
        ("step: {}", (1, 1), "unknown key 'step'"),
        ("steps: []", (1, 8), "steps must be a mapping"),
        ("steps: {a: []}", (1, 12), "there is no answer"),
        ("steps: {a: 1}", (1, 12), "an answer must be a mapping"),
        ("steps: {a: {}}", (1, 12), "exactly one of output, error, silent"),
        ("steps: {a: {output: 1, error: x}}", (1, 9), "exactly one of"),
        ("steps: {a: {output: '${{ steps }}'}}", (1, 21), "'steps' is not known here"),
        ("steps: {a: {error: 5}}", (1, 20), "must be text"),
        ("steps: {a: {error: x, retryAfterSeconds: y}}", (1, 42), "must be a number"),
        ("steps: {a: {output: 1, after: 5}}", (1, 31), "needs a unit"),
        ("start: soon", (1, 8), "'soon' is not a time"),
        ("start: '2026-01-01'", (1, 8), "no time zone"),
        ("cases: {}", (1, 8), "there is no case"),
        ("cases: {x: {workflows: []}}", (1, 13), "unknown key 'workflows'"),
        ("agents: {}", (1, 9), "agents must be a list"),
        ("agents: [{name: a, slots: 0}]", (1, 27), "at least 1"),
        ("expect: {stauts: x}", (1, 10), "did you mean 'status'?"),
        ("expect: {steps: [a]}", (1, 10), "a mapping by name"),
        ("expect: {within: 5}", (1, 18), "needs a unit"),
        ("priority: 101", (1, 11), "from 0 to 100"),
    ],
)
def test_mistakes_of_a_mocks_file(mocks: str, place: tuple[int, int], words: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_mocks(mocks, "m.yaml")
    [fault] = refused.value.faults
    assert words in f"{fault.message} ({fault.hint})"
    assert (fault.line, fault.column) == place


# -- people ---------------------------------------------------------------------------------

ASKING = template(
    {
        "ask": {"approval": {"title": "Go?", "details": {"n": 1}, "quorum": 2, "timeout": "1d"}},
        "hear": {"needs": "ask", "signal": "go"},
    },
    output="${{ [steps.ask.output.by, steps.ask.output.details, steps.hear.output] }}",
)


def test_people_decide_and_send() -> None:
    found = played(
        """
        signals: [{name: go, payload: 7, after: 1h}, {name: go, payload: 8, after: 2h}]
        approvals: {ask: [{approve: ann, after: 1m}, {edit: bob, details: 2, after: 2m}, {approve: ann, after: 5h}]}
        """,
        ASKING,
    )
    assert (found.mistakes, found.output) == ((), [["bob", "ann"], 2, 7])
    assert found.took == 5 * 3_600_000_000


def test_a_signal_that_nobody_waits_for_fails_the_case() -> None:
    [mistake] = played("signals: [{name: stop}]", ASKING).mistakes
    assert "no step waits for a signal 'stop'" in mistake


@pytest.mark.parametrize(
    ("mocks", "words"),
    [
        ("signals: {}", "signals must be a list"),
        ("signals: [{payload: 1}]", "name must be text"),
        ("approvals: []", "approvals must be a mapping"),
        ("approvals: {a: {}}", "a must be a list"),
        ("approvals: {a: [{}]}", "a decision is one of approve, reject, edit"),
        ("approvals: {a: [{edit: ann}]}", "a decision is one of approve, reject, edit"),
        ("approvals: {a: [{approve: ann, details: 1}]}", "a decision is one of"),
        ("approvals: {a: [{approve: ann, after: 5}]}", "needs a unit"),
    ],
)
def test_mistakes_in_what_people_do(mocks: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_mocks(mocks, "m.yaml")
    assert words in refused.value.faults[0].message
