"""From a file's text to a template, or to every mistake with its line, column and remedy."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from opscore.core.errors import Invalid, TooLarge
from opscore.core.template import Target
from opscore.documents import formatted
from opscore.templates import canonical, read_template

FLOW = """\
name: repo-health                 # name + version is immutable
version: "1"
description: Measure a source tree and report the worst parts.
input: {type: object, required: [path], properties: {path: {type: string}}}
defaults:
  retry: {maxAttempts: 3, backoff: exponential, initialDelay: 1s, maxDelay: 1m, jitter: 0.2}
  timeout: {attempt: 5m, queue: 1h}
steps:
  scan:
    capability: scan-repo
    with: {path: "${{ input.path }}"}
  measure:
    needs: scan
    foreach: "${{ steps.scan.output.files }}"
    maxParallel: 8
    capability: measure-file
    with: {file: "${{ item }}"}
    retry: {maxAttempts: 5, errors: [timeout, agent_lost, rate_limited]}
    fallback: [{agent: careful-measurer}, {value: {skipped: true}}]
  report:
    needs: [measure]
    if: "${{ steps.measure.output.exists(m, has(m.complexity) && m.complexity > 10) }}"
    capability: write-report
    with: {files: "${{ steps.measure.output }}"}
    priority: 80
output: "${{ steps.report.output }}"
onError: {workflow: notify-humans, with: {why: "${{ error.message }}"}}
"""


def refused(text: str | bytes | object, name: str = "flow.yaml") -> list[str]:
    with pytest.raises(Invalid) as caught:
        read_template(text, name=name)
    return formatted(caught.value.faults, name)


def changed(old: str, new: str) -> list[str]:
    assert FLOW.count(old) == 1, "the place to change is one"
    return refused(FLOW.replace(old, new))


def test_the_template_of_the_contract() -> None:
    found = read_template(FLOW, name="flow.yaml")
    assert found.order == ("scan", "measure", "report")
    assert found.steps["measure"].retry.max_attempts == 5
    assert found.steps["report"].ancestors == {"scan", "measure"}
    tree = json.loads(found.source)
    assert tree["steps"]["scan"]["with"] == {"path": "${{ input.path }}"}
    assert found.source == canonical(tree)
    assert found.digest == hashlib.sha256(found.source).hexdigest()


def test_the_same_content_has_the_same_digest() -> None:
    found = read_template(FLOW, name="flow.yaml")
    again = read_template(json.dumps(json.loads(found.source), indent=3), name="flow.json")
    third = read_template(json.loads(found.source))
    assert found.digest == again.digest == third.digest
    assert read_template(FLOW.replace("80", "81")).digest != found.digest


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            'version: "1"',
            "version: 1.10",
            (
                "flow.yaml:2:10: version must be text, not a number"
                ' (write it in quotes: "1.1"; a bare 1.10 would become 1.1)'
            ),
        ),
        (
            "capability: scan-repo",
            "capabilty: scan-repo",
            "flow.yaml:10:5: unknown key 'capabilty' (did you mean 'capability'?)",
        ),
        (
            "needs: scan",
            "needs: scna",
            "flow.yaml:13:12: there is no step 'scna' (did you mean 'scan'?)",
        ),
        (
            "attempt: 5m",
            "attempt: 5",
            (
                "flow.yaml:7:22: timeout attempt needs a unit: 5 is a bare number"
                " (write 5s for 5 seconds, 5ms for milliseconds)"
            ),
        ),
        (
            "    with: {path:",
            "    needs: report\n    with: {path:",
            (
                "flow.yaml:11:12: the steps wait for each other: 'scan' needs 'report', which needs"
                " 'measure', which needs 'scan' (remove one of these 'needs')"
            ),
        ),
        (
            "type: object",
            "type: objct",
            ("flow.yaml:4:15: \"objct\" is no type of JSON Schema (did you mean 'object'?)"),
        ),
        (
            "${{ item }}",
            "${{ itm }}",
            "flow.yaml:17:18: in 'itm': column 1: 'itm' is not known here; did you mean 'item'?",
        ),
        (
            "${{ steps.measure.output }}",
            "${{ steps.scan.otput + }}",
            (
                "flow.yaml:24:19: in 'steps.scan.otput +': column 19: Syntax error:"
                " something is missing at the end"
            ),
        ),
        (
            "${{ error.message }}",
            "${{ item }}",
            "flow.yaml:27:48: in 'item': column 1: 'item' is only known in a step with 'foreach'",
        ),
        (
            "  report:\n",
            "  report:\n    when: sometimes\n",
            (
                "flow.yaml:21:11: 'when: sometimes' is not known"
                " (one of: completed, failed, always; a condition on values goes into 'if')"
            ),
        ),
        (
            "    priority: 80",
            "    priority: 80\n    workflow: other",
            (
                "flow.yaml:26:15: a step is exactly one of capability, agent, workflow, wait, signal, "
                "approval, value; this one has capability and workflow (make two steps of it)"
            ),
        ),
        (
            "    priority: 80",
            "    priority: 80\n    priority: 81",
            "flow.yaml:26:5: the key 'priority' stands twice: first on line 25 (remove one of them)",
        ),
        (
            '{file: "${{ item }}"}',
            "{file: ${{ item }}}",
            (
                "flow.yaml:17:19: expected ',' or '}', but got '{'"
                ' (put the expression in quotes: "${{ … }}")'
            ),
        ),
    ],
)
def test_mistakes_have_file_line_column_and_remedy(old: str, new: str, line: str) -> None:
    assert line in changed(old, new)


def test_all_mistakes_come_in_the_order_of_the_document() -> None:
    text = FLOW.replace("attempt: 5m", "attempt: 5").replace("priority: 80", "priority: 800")
    text = text.replace("type: object", "type: objct").replace("${{ item }}", "${{ 1 + }}")
    assert [line.split(": ")[0] for line in refused(text)] == [
        "flow.yaml:4:15",
        "flow.yaml:7:22",
        "flow.yaml:17:18",
        "flow.yaml:25:15",
    ]


def test_trees_have_pointers_instead_of_lines() -> None:
    assert refused({"name": "t", "version": "1", "steps": {"a": {"agent": 5}}}, "body") == [
        'body: /steps/a/agent: agent must be text, not a number (write it in quotes: "5")'
    ]


def test_the_older_format_is_read_from_text() -> None:
    older: dict[str, Any] = {
        "id": "w",
        "name": "W",
        "version": "1",
        "tasks": [{"taskId": "a", "nextTaskId": "b"}, {"taskId": "b", "agentCapability": "c"}],
    }
    found = read_template(json.dumps(older))
    assert found.steps["a"].work == Target()
    assert json.loads(found.source) == older
    older["tasks"][1]["agentCapability"] = 5
    assert refused(json.dumps(older, indent=0), "w.json")[0].startswith("w.json:12:20: capability")


@pytest.mark.parametrize("text", ["", "- a", "42", b"\xff", "[" * 1_000_000, "a: &a [*a]", None])
def test_what_is_no_template_is_refused(text: object) -> None:
    assert refused(text)


def test_too_large_is_its_own_error() -> None:
    with pytest.raises(TooLarge):
        read_template("a" * 2_000_000)
