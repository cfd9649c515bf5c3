"""Mistakes that show when a template is looked at as a whole: kinds, fields, what never runs."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.templates import check_template

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "path": {"type": "string"},
        "files": {"type": "array"},
        "limits": {"type": "object", "properties": {"depth": {"type": "integer"}}},
        "either": {"anyOf": [{"type": "string"}, {"type": "array"}]},
        "maybe": {"type": ["array", "null"]},
    },
}


def found(steps: dict[str, Any], **rest: Any) -> tuple[list[str], list[str]]:
    tree = {"name": "t", "version": "1", "input": SCHEMA, "steps": steps, **rest}
    findings = check_template(tree)
    mistakes, warnings = (
        [
            f"{each.pointer}: {each.message}" + (f" ({each.hint})" if each.hint else "")
            for each in of
        ]
        for of in (findings.faults, findings.warnings)
    )
    return mistakes, warnings


def mistakes_of(**step: Any) -> list[str]:
    return found({"a": {"capability": "c", **step}})[0]


@pytest.mark.parametrize(
    ("step", "mistake"),
    [
        ({"if": "input.path"}, "/steps/a/if: 'if' gives true or false, and this gives text"),
        (
            {"repeat": {"until": "size(previous)", "max": 2}},
            "/steps/a/repeat/until: 'until' gives true or false, and this gives a number",
        ),
        ({"if": "1 + 1"}, "/steps/a/if: 'if' gives true or false, and this gives a number"),
        ({"if": "size(input.files)"}, "this gives a number (compare it with something)"),
        (
            {"foreach": "${{ input.path }}"},
            "/steps/a/foreach: foreach goes over a list or a map, and",
        ),
        ({"foreach": "${{ 'a' + 'b' }}"}, "and this gives text"),
        ({"foreach": "${{ input.limits.depth }}"}, "and this gives a number"),
        ({"with": "${{ input.files }}"}, "/steps/a/with: 'with' is a mapping, and this gives"),
        ({"with": {"p": "${{ input.pth }}"}}, "'input' has no field 'pth'; it has: path, files"),
        ({"with": {"p": "${{ input.pth }}"}}, "(did you mean 'path'?)"),
        ({"with": {"p": "${{ 1 + input.path.x }}"}}, "column 5: 'input.path' is text, it has no"),
        ({"with": {"p": "${{ session.nme }}"}}, "'session' has no field 'nme'"),
        ({"fallback": [{"value": "${{ error.clss }}"}]}, "'error' has no field 'clss'"),
    ],
)
def test_what_can_never_be_is_a_mistake(step: dict[str, Any], mistake: str) -> None:
    [told] = mistakes_of(**step)
    assert mistake in told


@pytest.mark.parametrize(
    "step",
    [
        {"if": "input.path != ''"},
        {"if": "input.limits.all"},
        {"foreach": "${{ input.files }}"},
        {"foreach": "${{ input.either }}"},
        {"foreach": "${{ input.maybe }}"},
        {"foreach": "${{ input.files.filter(f, f != '') }}"},
        {"with": "${{ input.limits }}"},
        {"with": {"p": "${{ input.either.x }}"}},
        {"with": {"p": "${{ session.context.anything }}"}},
        {"with": {"p": "${{ session.labels.team }}"}},
    ],
)
def test_what_may_be_is_none(step: dict[str, Any]) -> None:
    assert mistakes_of(**step) == []


def test_a_field_that_the_schema_does_not_name_but_allows_is_a_warning() -> None:
    mistakes, warnings = found(
        {"a": {"capability": "c", "with": {"d": "${{ input.limits.dpth }}"}}}
    )
    assert mistakes == []
    [warning] = warnings
    assert warning.startswith("/steps/a/with/d: in 'input.limits.dpth': column 1: 'input.limits' ")
    assert warning.endswith("has no field 'dpth'; it has: depth (did you mean 'depth'?)")


def test_what_is_required_is_there_without_being_described() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"b": {"type": "string"}}}
    step = {"value": ["${{ input.a }}", "${{ input.b }}"]}
    assert found({"a": step}, input=schema) == ([], [])


def test_outputs_of_steps_are_known_as_far_as_they_are_written_down() -> None:
    before = {
        "made": {"value": {"text": "a ${{ input.path }}", "files": "${{ input.files }}", "n": [1]}},
        "each": {"foreach": "${{ input.files }}", "capability": "c"},
        "free": {"capability": "c"},
    }

    def after(**step: Any) -> list[str]:
        needs = {"needs": [*before], "capability": "c"}
        return found({**before, "a": {**needs, **step}})[0]

    for text in ("${{ steps.made.output.files }}", "${{ steps.each.output }}"):
        assert after(foreach=text) == []
    assert after(foreach="${{ steps.free.output.any.thing }}", **{"if": "steps.free.output"}) == []
    for text, words in (
        ("${{ steps.made.output.n[0] == 1 }}", "true or false"),
        ("${{ steps.made.output.text }}", "text"),
        ("${{ steps.made.output.txt }}", "'steps.made.output' has no field 'txt'"),
        ("${{ steps.made.outputs }}", "'steps.made' has no field 'outputs'"),
        ("${{ steps.each.output.first }}", "'steps.each.output' is a list, it has no field"),
    ):
        [told] = after(foreach=text)
        assert words in told, text


def test_a_step_that_never_runs_is_a_warning() -> None:
    assert found({"a": {"value": 1, "if": False}}) == (
        [],
        ["/steps/a/if: step 'a' never runs: its 'if' is always false"],
    )


def test_all_kinds_of_mistakes_come_together_in_the_order_of_the_document() -> None:
    text = """name: t
version: "1"
input: {type: object, properties: {path: {type: string}}}
steps:
  a: {capability: c, foreach: "${{ input.path }}"}
  b: {capability: c, timeout: 5}
  c: {capability: c, needs: d}
  d: {capability: c, needs: c, if: "1"}
"""
    findings = check_template(text)
    assert [(each.line, each.message.split(":")[0][:24]) for each in findings.faults] == [
        (5, "foreach goes over a list"),
        (6, "timeout needs a unit"),
        (7, "the steps wait for each "),
        (8, "'if' gives true or false"),
    ]
