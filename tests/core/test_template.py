"""Reading templates from plain trees: what they become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opscore.core.errors import Fault
from opscore.core.expressions import ExpressionScope
from opscore.core.parsing import parse
from opscore.core.template import (
    Expression,
    FallbackMember,
    OnError,
    RetryPolicy,
    Target,
    Template,
    Timeouts,
    Value,
)

SECOND = 1_000_000


def read(tree: object, scopes: dict[str, ExpressionScope] | None = None) -> Template | list[Fault]:
    def note(text: str, scope: ExpressionScope) -> str | None:
        if scopes is not None:
            scopes[text] = scope
        return None

    return parse(
        tree,
        check_expression=note,
        check_schema=lambda _: [],
        calendar_of=lambda _, __: "no calendar",
        encode=lambda each: json.dumps(each).encode(),
        source=b"source",
        digest="digest",
    )


def template(**keys: Any) -> Template:
    found = read({"name": "t", "version": "1", "steps": {"a": {"capability": "c"}}, **keys})
    assert isinstance(found, Template), found
    return found


def step(**keys: Any) -> Any:
    return template(steps={"a": {"capability": "c", **keys}}).steps["a"]


def test_the_smallest_template() -> None:
    found = template()
    assert (found.name, found.version, found.order, found.roots) == ("t", "1", ("a",), ("a",))
    assert (found.source, found.digest) == (b"source", "digest")
    assert found.steps["a"].work == Target(capability="c")
    assert found.steps["a"].retry == RetryPolicy()
    assert found.steps["a"].timeout == Timeouts()
    assert not found.steps["a"].with_.dynamic


def test_needs_make_a_graph() -> None:
    found = template(
        steps={
            "c": {"value": 1, "needs": ["a", "b"]},
            "a": {"capability": "x"},
            "b": {"agent": "y", "needs": "a"},
        }
    )
    assert found.order == ("a", "b", "c")
    assert found.dependents == {"a": ("c", "b"), "b": ("c",), "c": ()}
    assert found.steps["c"].ancestors == {"a", "b"}
    assert found.steps["b"].work == Target(agent="y")


def test_step_keys_merge_over_defaults() -> None:
    found = template(
        defaults={
            "retry": {"maxAttempts": 2, "initialDelay": "2s", "errors": ["timeout"]},
            "timeout": {"attempt": "5m", "queue": "1h"},
            "priority": 10,
            "labels": {"team": "x", "kind": "y"},
        },
        steps={
            "a": {"capability": "c"},
            "b": {
                "capability": "c",
                "retry": 7,
                "timeout": "1s",
                "priority": 90,
                "labels": {"kind": "z"},
            },
            "v": {"value": 1},
        },
    )
    assert found.steps["a"].retry.max_attempts == 2
    assert found.steps["a"].timeout == Timeouts(attempt=300 * SECOND, queue=3600 * SECOND)
    assert found.steps["a"].priority == 10
    assert found.steps["b"].retry == RetryPolicy(
        max_attempts=7, initial_delay=2 * SECOND, errors=frozenset({"timeout"})
    )
    assert found.steps["b"].timeout == Timeouts(attempt=SECOND, queue=3600 * SECOND)
    assert found.steps["b"].priority == 90
    assert found.steps["b"].labels == {"team": "x", "kind": "z"}


def test_retry_in_full() -> None:
    retry = {
        "maxAttempts": 5,
        "backoff": "linear",
        "initialDelay": "500ms",
        "maxDelay": "1m30s",
        "jitter": 0,
        "errors": ["timeout", "agent_lost"],
    }
    assert step(retry=retry).retry == RetryPolicy(
        5, "linear", SECOND // 2, 90 * SECOND, 0.0, frozenset({"timeout", "agent_lost"})
    )


def test_a_long_first_delay_lifts_the_default_bound() -> None:
    assert step(retry={"initialDelay": "5m"}).retry.max_delay == 300 * SECOND


def test_fallback_foreach_and_condition() -> None:
    found = step(
        **{
            "foreach": "${{ input.files }}",
            "maxParallel": 8,
            "if": "${{ input.on }}",
            "with": {"file": "${{ item }}"},
            "fallback": [{"agent": "b"}, {"capability": "d"}, {"value": {"skipped": True}}],
        }
    )
    assert found.foreach.tree == Expression("input.files")
    assert (found.max_parallel, found.condition) == (8, "input.on")
    assert found.with_.tree == {"file": Expression("item")}
    assert found.fallback[:2] == (
        FallbackMember(Target(agent="b")),
        FallbackMember(Target(capability="d")),
    )
    assert found.fallback[2].value.tree == {"skipped": True}


@pytest.mark.parametrize(
    ("written", "text"),
    [("input.a > 1", "input.a > 1"), ("${{ input.a }}", "input.a"), (True, "true")],
)
def test_conditions(written: object, text: str) -> None:
    assert step(**{"if": written}).condition == text


def test_the_rest_of_the_template() -> None:
    found = template(
        input={"type": "object"},
        output="${{ steps.a.output }}",
        onError={"workflow": "w", "version": "2", "with": {"why": "${{ error.message }}"}},
        priority=80,
        timeout="1d",
        labels={"a": "b"},
        description="d",
        **{"x-anything": {"goes": [1]}},
    )
    assert found.input_schema == b'{"type": "object"}'
    assert isinstance(found.output, Value)
    assert found.output.tree == Expression("steps.a.output")
    assert isinstance(found.on_error, OnError)
    assert (found.on_error.workflow, found.on_error.version) == ("w", "2")
    assert found.on_error.with_.tree == {"why": Expression("error.message")}
    assert (found.priority, found.timeout.total, found.labels) == (80, 86_400 * SECOND, {"a": "b"})


def test_scopes() -> None:
    scopes: dict[str, ExpressionScope] = {}
    found = read(
        {
            "name": "t",
            "version": "1",
            "steps": {
                "a": {"capability": "c", "with": {"x": "${{ in_a }}"}},
                "b": {
                    "capability": "c",
                    "needs": "a",
                    "if": "in_if",
                    "foreach": "${{ in_foreach }}",
                    "with": {"x": "${{ in_b }}"},
                    "fallback": [{"value": "${{ in_fallback }}"}],
                },
            },
            "output": "${{ in_output }}",
            "onError": {"workflow": "w", "with": {"x": "${{ in_error }}"}},
        },
        scopes,
    )
    assert isinstance(found, Template)
    session = {"input", "session", "steps"}
    assert scopes["in_a"] == ExpressionScope(frozenset(session), frozenset(), frozenset({"a", "b"}))
    assert scopes["in_if"].names == scopes["in_foreach"].names == session
    assert scopes["in_b"].names == session | {"item", "index"}
    assert scopes["in_b"].steps == {"a"}
    assert scopes["in_fallback"].names == session | {"item", "index", "error"}
    assert scopes["in_output"].names == session
    assert scopes["in_output"].steps == {"a", "b"}
    assert scopes["in_error"].names == session | {"error"}
