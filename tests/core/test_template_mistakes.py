"""Every mistake of a template is told, with its pointer and what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opscore.core.errors import Fault
from opscore.core.parsing import TEMPLATE_KEYS, parse
from opscore.core.steps import STEP_KEYS
from opscore.core.template import Template

Row = tuple[dict[str, Any], str, str]


def read(tree: object) -> Template | list[Fault]:
    return parse(
        tree,
        check_expression=lambda _, __: None,
        check_schema=lambda _: [],
        calendar_of=lambda _, __: "no calendar",
        encode=lambda each: json.dumps(each).encode(),
        source=b"",
        digest="",
    )


def mistakes(tree: object) -> list[tuple[str, str]]:
    found = read(tree)
    assert not isinstance(found, Template), "it should have been refused"
    return [(fault.pointer, f"{fault.message} ({fault.hint})") for fault in found]


def one_mistake(**keys: Any) -> tuple[str, str]:
    base = {"name": "t", "version": "1", "steps": {"a": {"capability": "c"}}}
    found = mistakes({key: each for key, each in {**base, **keys}.items() if each is not ...})
    assert len(found) == 1, found
    return found[0]


def step_mistake(**keys: Any) -> tuple[str, str]:
    step = {key: each for key, each in {"capability": "c", **keys}.items() if each is not ...}
    where, message = one_mistake(steps={"a": step})
    return where.removeprefix("/steps/a"), message


OF_TEMPLATES: list[Row] = [
    ({"name": ...}, "", "no name"),
    ({"name": "-a"}, "/name", "not a template name"),
    ({"name": "a" * 129}, "/name", "not a template name"),
    ({"name": 5}, "/name", 'name must be text, not a number (write it in quotes: "5")'),
    ({"version": ...}, "", "no version"),
    ({"version": 1.1}, "/version", "a bare 1.10 would become 1.1"),
    ({"version": 1}, "/version", 'write it in quotes: "1"'),
    ({"version": ""}, "/version", "printable text"),
    ({"steps": ...}, "", "no mapping of steps"),
    ({"steps": {}}, "/steps", "no mapping of steps"),
    ({"steps": []}, "/steps", "no mapping of steps"),
    ({"steps": {"a": None}}, "/steps/a", "must be a mapping, not null"),
    ({"steps": {"A": {"value": 1}}}, "/steps/A", "not a step name"),
    ({"steps": {"a-b": {"value": 1}}}, "/steps/a-b", "not a step name"),
    ({"steps": {"in": {"value": 1}}}, "/steps/in", "a word of the expression language"),
    ({"stesp": 1}, "/stesp", "unknown key 'stesp' (did you mean 'steps'?)"),
    ({"zzz": 1}, "/zzz", "known keys: name, version"),
    ({"concurrency": 1}, "/concurrency", "must be a mapping"),
    ({"concurrency": {"key": "k"}}, "/concurrency", "does not say how many"),
    ({"concurrency": {"key": "k", "limit": 0}}, "/concurrency/limit", "from 1"),
    ({"rate": {"key": "k", "limit": 1}}, "/rate", "in which time"),
    ({"schedule": {}}, "/schedule", "exactly one of cron and every"),
    ({"schedule": {"cron": "x", "every": "1h"}}, "/schedule", "exactly one"),
    ({"schedule": {"cron": "x"}}, "/schedule", "no calendar"),
    ({"schedule": {"every": "1ms"}}, "/schedule/every", "at least 1s"),
    ({"schedule": {"every": "1h", "timezone": "UTC"}}, "/schedule/timezone", "without 'cron'"),
    ({"schedule": {"every": "1h", "overlap": "run"}}, "/schedule/overlap", "skip, queue, cancel"),
    ({"schedule": {"every": "1h", "catchup": "1h"}}, "/schedule/catchup", "'catchUp'?"),
    ({"env": {}}, "/env", "must be text, not a mapping"),
    ({"env": ["HOME", "a-b"]}, "/env/1", "'a-b' is not the name of a variable"),
    ({"input": 1}, "/input", "must be a mapping"),
    ({"priority": 101}, "/priority", "from 0 to 100, not 101"),
    ({"priority": True}, "/priority", "a whole number, not a boolean"),
    ({"timeout": 5}, "/timeout", "timeout needs a unit: 5 is a bare number (write 5s"),
    ({"timeout": {"attempt": "5s"}}, "/timeout/attempt", "bounds a step, not a session"),
    ({"labels": {"a": 1}}, "/labels/a", 'write it in quotes: "1"'),
    ({"description": []}, "/description", "must be text, not a list"),
    ({"defaults": {"capability": "c"}}, "/defaults/capability", "cannot be a default"),
    ({"defaults": {"rerty": 1}}, "/defaults/rerty", "did you mean 'retry'?"),
    ({"defaults": {"retry": {"maxAttempts": 0}}}, "/defaults/retry/maxAttempts", "from 1"),
    ({"onError": "w"}, "/onError", "must be a mapping"),
    ({"onError": {}}, "/onError", "does not name a workflow"),
    ({"onError": {"workflow": "w", "wiht": 1}}, "/onError/wiht", "did you mean 'with'?"),
    ({"onError": {"workflow": "w", "version": 1}}, "/onError/version", "must be text"),
    ({"output": "${{ a"}, "/output", "without its '}}'"),
    ({"output": {"a/b": ["${{ }}"]}}, "/output/a~1b/0", "empty expression"),
    ({"output": float("nan")}, "/output", "not a JSON number"),
    ({"output": 2**70}, "/output", "at most 64 bits"),
    ({"output": "\ud800"}, "/output", "surrogate"),
    ({"output": {1: 2}}, "/output/1", "keys are text"),
    ({"output": object()}, "/output", "not a JSON value"),
]


@pytest.mark.parametrize(("keys", "where", "words"), OF_TEMPLATES)
def test_mistakes_of_templates(keys: dict[str, Any], where: str, words: str) -> None:
    pointer, message = one_mistake(**keys)
    assert pointer == where
    assert words in message


OF_STEPS: list[Row] = [
    ({"capability": ...}, "", "does not say what it does"),
    ({"capability": ..., "capabilty": "c"}, "/capabilty", "did you mean 'capability'?"),
    ({"agent": "b"}, "/agent", "this one has capability and agent"),
    ({"capability": "${{ x }}"}, "/capability", "cannot be computed"),
    ({"capability": ""}, "/capability", "printable text"),
    ({"capability": ..., "wait": 5}, "/wait", "wait must be text, not a number (write a number"),
    ({"capability": ..., "wait": "5"}, "/wait", "'5' is not a duration"),
    ({"capability": ..., "wait": {"til": "x"}}, "/wait/til", "did you mean 'until'?"),
    ({"capability": ..., "wait": {}}, "/wait", "add 'until: a time'"),
    ({"capability": ..., "wait": {"until": 5}}, "/wait/until", "must be text, not a number"),
    ({"capability": ..., "wait": {"until": "noon"}}, "/wait/until", "'noon' is not a time"),
    ({"capability": ..., "wait": "1s", "retry": 2}, "/retry", "means nothing beside 'wait'"),
    ({"capability": ..., "wait": "1s", "timeout": "1s"}, "/timeout", "beside 'wait'"),
    ({"capability": ..., "signal": 5}, "/signal", "the name of a signal must be text"),
    ({"capability": ..., "signal": {}}, "/signal", "add 'name: NAME'"),
    ({"capability": ..., "signal": {"name": "x", "schema": 1}}, "/signal/schema", "a mapping"),
    ({"capability": ..., "signal": "x", "timeout": 5}, "/timeout", "needs a unit"),
    (
        {"capability": ..., "signal": "x", "timeout": {"queue": "5s"}},
        "/timeout/queue",
        "unknown key 'queue' (known keys: total)",
    ),
    ({"capability": ..., "approval": "x"}, "/approval", "must be a mapping, not text"),
    ({"capability": ..., "approval": {}}, "/approval", "add 'title: what is asked'"),
    ({"capability": ..., "approval": {"title": 5}}, "/approval/title", "must be text"),
    (
        {"capability": ..., "approval": {"title": "x", "approvers": []}},
        "/approval/approvers",
        "a list of 1 to 100 names",
    ),
    (
        {"capability": ..., "approval": {"title": "x", "approvers": ["a", "a"]}},
        "/approval/approvers",
        "stands twice",
    ),
    (
        {"capability": ..., "approval": {"title": "x", "approvers": ["a"], "quorum": 2}},
        "/approval/quorum",
        "quorum 2 is more than there are approvers (1)",
    ),
    (
        {"capability": ..., "approval": {"title": "x", "onTimeout": "approve"}},
        "/approval/onTimeout",
        "add 'timeout: 1d'",
    ),
    (
        {"capability": ..., "approval": {"title": "x", "timeout": "1d", "onTimeout": "ask"}},
        "/approval/onTimeout",
        "one of: approve, reject, escalate",
    ),
    (
        {"capability": ..., "approval": {"title": "x", "timeout": "1d", "onTimeout": "escalate"}},
        "/approval/onTimeout",
        "add 'escalate: {approvers: [NAME]}'",
    ),
    (
        {"capability": ..., "approval": {"title": "x", "escalate": {"approvers": ["a"]}}},
        "/approval/escalate",
        "needs 'onTimeout: escalate'",
    ),
    ({"capability": None}, "/capability", "must be text, not null"),
    ({"needs": "b"}, "/needs", "there is no step 'b'"),
    ({"needs": ["aa"]}, "/needs/0", "did you mean 'a'?"),
    ({"needs": "a"}, "/needs", "'a' needs 'a'"),
    ({"needs": 5}, "/needs", "must be text"),
    ({"timeout": 5}, "/timeout", "needs a unit"),
    ({"timeout": "5"}, "/timeout", "'5' is not a duration (write a number with a unit"),
    ({"timeout": "31d"}, "/timeout", "not a duration"),
    ({"timeout": {"heartbeat": "900ms"}}, "/timeout/heartbeat", "must be 1s or longer"),
    ({"concurrency": 5}, "/concurrency", "must be a mapping, not a number"),
    ({"concurrency": {"key": "k"}}, "/concurrency", "does not say how many"),
    ({"concurrency": {"key": "k", "limit": 0}}, "/concurrency/limit", "not 0"),
    ({"concurrency": {"key": 5, "limit": 1}}, "/concurrency/key", "text or one expression"),
    ({"concurrency": {"key": "", "limit": 1}}, "/concurrency/key", "1 to 256 characters"),
    (
        {"concurrency": {"key": "k", "limit": 1, "onFull": "wait"}},
        "/concurrency/onFull",
        "queue, cancelOldest, reject",
    ),
    ({"rate": {"key": "k", "limit": 1}}, "/rate", "in which time"),
    ({"rate": {"key": "k", "limit": 1, "per": 5}}, "/rate/per", "needs a unit"),
    ({"rate": {"limit": 1, "per": "1s"}}, "/rate", "has no key"),
    ({"timeout": {"atempt": "5s"}}, "/timeout/atempt", "did you mean 'attempt'?"),
    ({"retry": 0}, "/retry", "from 1 to 1000, not 0"),
    ({"retry": "3"}, "/retry", "a number or a mapping, not text"),
    ({"retry": {"backoff": "fast"}}, "/retry/backoff", "constant, linear, exponential"),
    ({"retry": {"jitter": 2}}, "/retry/jitter", "from 0 to 1"),
    ({"retry": {"errors": []}}, "/retry/errors", "a list of error classes"),
    ({"retry": {"initialDelay": 1}}, "/retry/initialDelay", "needs a unit"),
    ({"retry": {"maxDelay": "1ms"}}, "/retry", "maxDelay 1ms is shorter than initialDelay 1s"),
    ({"priority": -1}, "/priority", "from 0 to 100"),
    ({"foreach": "abc"}, "/foreach", "a list, a map or one expression, not text"),
    ({"foreach": "a ${{ b }}"}, "/foreach", "a list, a map or one expression"),
    ({"foreach": 5}, "/foreach", "not a number"),
    ({"maxParallel": 3}, "/maxParallel", "needs 'foreach'"),
    ({"foreach": [1], "maxParallel": 0}, "/maxParallel", "at least 1, not 0"),
    ({"if": "a ${{ b }}"}, "/if", "must be one expression"),
    ({"if": 5}, "/if", "must be an expression"),
    ({"if": ""}, "/if", "empty expression"),
    ({"if": "x" * 5000}, "/if", "longer than 4096"),
    ({"with": "abc"}, "/with", "must be a mapping"),
    ({"with": [1]}, "/with", "must be a mapping"),
    ({"fallback": []}, "/fallback", "a list of members"),
    ({"fallback": {"value": 1}}, "/fallback", "a list of members"),
    ({"fallback": [{}]}, "/fallback/0", "exactly one of"),
    ({"fallback": [{"agent": "a", "value": 1}]}, "/fallback/0", "exactly one of"),
    ({"fallback": [{"workflow": 1}]}, "/fallback/0/workflow", "must be text"),
    ({"capability": ..., "workflow": []}, "/workflow", "workflow must be text, not a list"),
    ({"capability": ..., "workflow": {}}, "/workflow", "does not say which"),
    ({"capability": ..., "workflow": {"name": "w", "v": 1}}, "/workflow/v", "unknown key 'v'"),
    ({"capability": ..., "workflow": {"name": "w", "version": 1}}, "/workflow/version", "text"),
    ({"capability": ..., "workflow": "w", "timeout": {"attempt": "5s"}}, "/timeout/attempt", "key"),
    ({"capability": ..., "wait": "5s", "fallback": [{"value": 1}]}, "/fallback", "nothing can go"),
    (
        {"compensate": {"agent": "a", "timeout": {"total": "5s"}}},
        "/compensate/timeout/total",
        "no total timeout",
    ),
    ({"fallback": [{"value": 1}, {"agent": "a"}]}, "/fallback/1", "ever reached"),
    ({"match": []}, "/match", "must be a mapping"),
    ({"match": {}}, "/match", "match says nothing (add one of: labels, prefer)"),
    ({"match": {"label": {}}}, "/match/label", "did you mean 'labels'?"),
    ({"match": {"labels": {}}}, "/match/labels", "a mapping of 1 to 16 names"),
    ({"match": {"labels": {"gpu": 1}}}, "/match/labels/gpu", 'write it in quotes: "1"'),
    ({"match": {"labels": "a100"}}, "/match/labels", "not text"),
    ({"match": {"prefer": 1}}, "/match/prefer", "'prefer' must be an expression"),
    (
        {"capability": ..., "agent": "a", "match": {"labels": {"a": "b"}}},
        "/match",
        "beside 'agent'",
    ),
    ({"capability": ..., "value": 1, "match": {"prefer": "true"}}, "/match", "beside 'value'"),
    (
        {"fallback": [{"workflow": "w", "match": {"prefer": "true"}}]},
        "/fallback/0/match",
        "beside 'workflow'",
    ),
    ({"fallback": [{"value": 1, "with": {}}]}, "/fallback/0/with", "beside 'value'"),
    ({"fallback": [{"agent": "a", "with": 1}]}, "/fallback/0/with", "must be a mapping"),
    ({"when": "sometimes"}, "/when", "one of: completed, failed, always"),
    ({"when": True}, "/when", "'when: a boolean' is not known"),
    ({"when": "always"}, "/when", "means nothing without 'needs'"),
    ({"when": "failed", "needs": []}, "/when", "means nothing without 'needs'"),
    ({"continueOnError": "yes"}, "/continueOnError", "true or false, not text"),
    ({"failures": "collect"}, "/failures", "needs 'foreach'"),
    ({"failures": "drop", "foreach": [1]}, "/failures", "write 'fail' or 'collect'"),
    ({"repeat": 3}, "/repeat", "must be a mapping"),
    ({"repeat": {"max": 3}}, "/repeat", "has no 'until'"),
    ({"repeat": {"until": "true"}}, "/repeat", "has no 'max'"),
    ({"repeat": {"until": "true", "max": 0}}, "/repeat/max", "from 1 to 1000"),
    ({"repeat": {"until": 5, "max": 2}}, "/repeat/until", "'until' must be an expression"),
    ({"repeat": {"until": "true", "max": 2}, "foreach": [1]}, "/repeat", "not go together"),
    ({"capability": ..., "value": 1, "repeat": {"until": "true", "max": 2}}, "/repeat", "beside"),
    ({"retry": {"per": 3}}, "/retry/per", "must be a mapping"),
    ({"compensate": "undo"}, "/compensate", "must be a mapping"),
    ({"compensate": {}}, "/compensate", "exactly one of capability, agent"),
    ({"compensate": {"agent": "a", "capability": "c"}}, "/compensate", "exactly one of"),
    ({"compensate": {"agent": "a", "fallback": []}}, "/compensate/fallback", "unknown key"),
    ({"compensate": {"agent": "a", "with": 3}}, "/compensate/with", "must be a mapping"),
    ({"compensate": {"agent": "a", "retry": 0}}, "/compensate/retry", "from 1"),
    ({"compensate": {"agent": "a", "timeout": 3}}, "/compensate/timeout", "needs a unit"),
    ({"output": "text"}, "/output", "must be a mapping"),
    ({"retry": {"per": {"a": "b"}}}, "/retry/per/a", "a number or a mapping"),
    ({"retry": {"per": {"a": 0}}}, "/retry/per/a", "from 1"),
    ({"retry": {"per": {"a": {"errors": []}}}}, "/retry/per/a/errors", "unknown key"),
    ({"retry": {"per": {"a": {"maxDelay": "1ms"}}}}, "/retry/per/a", "shorter than initialDelay"),
    ({"labels": ["a"]}, "/labels", "must be a mapping, not a list"),
    ({"capability": ..., "value": 1, "retry": 2}, "/retry", "means nothing beside 'value'"),
    ({"capability": ..., "value": 1, "with": {}}, "/with", "means nothing beside 'value'"),
]


@pytest.mark.parametrize(("keys", "where", "words"), OF_STEPS)
def test_mistakes_of_steps(keys: dict[str, Any], where: str, words: str) -> None:
    pointer, message = step_mistake(**keys)
    assert pointer == where
    assert words in message


def test_a_cycle_is_told_step_by_step() -> None:
    where, message = one_mistake(
        steps={
            "a": {"value": "${{ steps.c.output }}", "needs": "b"},
            "b": {"value": 1, "needs": ["c"]},
            "c": {"value": 1, "needs": "a"},
            "d": {"value": 1, "needs": "a"},
        }
    )
    assert where == "/steps/a/needs"
    assert "'a' needs 'b', which needs 'c', which needs 'a'" in message


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes(
        {
            "name": "a b",
            "version": 2,
            "steps": {"x": {"capability": "c", "timeout": 3}, "y": {"agent": "a", "needs": "z"}},
            "output": "${{",
        }
    )
    assert [where for where, _ in found] == [
        "/name",
        "/version",
        "/steps/y/needs",
        "/steps/x/timeout",
        "/output",
    ]


def test_bounds() -> None:
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    where, message = one_mistake(output=deep)
    assert "nested deeper than 64 levels" in message
    assert where.startswith("/output/0/0")
    where, message = one_mistake(steps={f"s{at}": {"value": 1} for at in range(1001)})
    assert (where, "more than 1000 steps" in message) == ("/steps", True)
    where, message = one_mistake(output=[0] * 200_000)
    assert (where, "more than 100000 values" in message) == ("", True)


@pytest.mark.parametrize("tree", [None, 1, "name: x", [], True])
def test_a_template_is_a_mapping(tree: object) -> None:
    assert "a template is a mapping" in mistakes(tree)[0][1]


words = st.sampled_from(
    [
        *(*TEMPLATE_KEYS, *STEP_KEYS),
        *("tasks", "taskId", "nextTaskId", "agentCapability", "parameters", "id", "a", "b"),
        *("maxAttempts", "backoff", "attempt", "errors", "initialDelay", "maxDelay", "jitter"),
        *("x-a", "/~"),
    ]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    words,
    st.sampled_from(["${{ a }}", "${{", "1s", "1", "t"]),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(words, st.integers()), inner)
    ),
    max_leaves=30,
)
nearly = st.fixed_dictionaries(
    {"name": st.just("t"), "version": st.just("1"), "steps": st.dictionaries(words, trees)},
    optional={key: trees for key in TEMPLATE_KEYS if key not in ("name", "version", "steps")},
)
older = st.fixed_dictionaries({"tasks": st.one_of(trees, st.lists(trees))})


# How fast trees are made depends on the machine, and is not what is tested.
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(trees, nearly, older))
def test_parse_never_raises(tree: object) -> None:
    found = read(tree)
    if not isinstance(found, Template):
        assert found
        assert all(fault.message for fault in found)
