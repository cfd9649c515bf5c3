"""`opscore workflow validate`, `plan` and `diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from opscore.cli import exits
from opscore.wire.base import PointedError
from opscore.wire.session import WorkflowChecked, WorkflowView
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer
from tests.cli.samples import AT

TEMPLATE = """name: checked
version: "2"
steps:
  a: {capability: c, foreach: "${{ input.all }}", timeout: {attempt: 5s, queue: 5s}, retry: 1}
  b: {needs: a, capability: c, if: "steps.a.output != []"}
"""


@pytest.fixture
def file(clean_settings: Path) -> Path:
    path = clean_settings / "t.yaml"
    path.write_text(TEMPLATE)
    return path


def test_offline_every_mistake_is_told_without_a_server(file: Path, opscore: Command) -> None:
    assert opscore("workflow", "validate", "--offline", "t.yaml").err == "t.yaml: valid\n"
    file.write_text(TEMPLATE.replace("needs: a", "needs: x").replace("5s", "5", 1))
    ran = opscore("workflow", "validate", "--offline", "t.yaml")
    assert ran.code == exits.ERROR
    assert ran.err.splitlines() == [
        "  t.yaml:4:70: timeout attempt needs a unit: 5 is a bare number",
        "    write 5s for 5 seconds, 5ms for milliseconds",
        "  t.yaml:5:14: there is no step 'x'",
        "    steps: a, b",
        "t.yaml: not valid",
    ]


def test_offline_warnings_are_no_mistakes(file: Path, opscore: Command) -> None:
    file.write_text(TEMPLATE.replace('"steps.a.output != []"', "false"))
    ran = opscore("workflow", "validate", "--offline", "t.yaml", "--json")
    assert ran.code == exits.OK
    assert [one["valid"] for one in ran.json] == [True]
    assert "warning: step 'b' never runs" in ran.err


def test_what_is_no_yaml_is_told_offline(file: Path, opscore: Command) -> None:
    file.write_text("a: [")
    ran = opscore("workflow", "validate", "--offline", "t.yaml")
    assert (ran.code, ran.err.startswith("  t.yaml:1:5: ")) == (exits.ERROR, True)


def test_the_servers_warnings_are_shown(file: Path, server: FakeServer, opscore: Command) -> None:
    warning = PointedError(pointer="/steps/a", message="nobody can", line=4, column=3)
    answer = WorkflowChecked(valid=True, warnings=[msgspec.to_builtins(warning)])
    server.on("POST /workflow/validate", answer)
    ran = opscore("workflow", "validate", "t.yaml")
    assert ran.code == exits.OK
    assert ran.err.splitlines() == ["  t.yaml:4:3: warning: nobody can", "t.yaml: valid"]


def test_a_plan_is_shown(file: Path, opscore: Command) -> None:
    ran = opscore("workflow", "plan", "t.yaml", "all=[1,2]")
    assert ran.code == exits.OK
    for line in (
        "workflow      checked 2",
        "at worst      unbounded",
        "longest path  a → b",
        "wave 0: a",
        "  b: no timeout attempt",
    ):
        assert line in ran.lines
    assert ["0", "a", "task", "c", "-", "yes", "2", "2", "10", "s"] in map(str.split, ran.lines)
    assert opscore("workflow", "plan", "t.yaml", "--json").json["steps"][0]["items"] is None


def test_a_plan_of_what_is_not_in_order_is_refused(file: Path, opscore: Command) -> None:
    file.write_text(TEMPLATE + "input: {type: object, required: [all]}\n")
    ran = opscore("workflow", "plan", "t.yaml", "other=1")
    assert (ran.code, ran.out) == (exits.ERROR, "")
    assert '"all" is a required property' in ran.err
    file.write_text("name: x\n")
    assert "t.yaml:1:1: the template has no version" in opscore("workflow", "plan", "t.yaml").err


def stored(version: str, **keys: Any) -> WorkflowView:
    steps = {"a": {"capability": "c", **keys}}
    tree = {"name": "checked", "version": version, "steps": steps}
    return WorkflowView(
        name="checked",
        version=version,
        description="",
        digest="d",
        created_at=AT,
        definition=msgspec.Raw(msgspec.json.encode(tree)),
    )


def test_two_versions_are_compared(server: FakeServer, opscore: Command) -> None:
    server.on("GET /workflow/checked/1", stored("1", retry=2, priority=9))
    server.on("GET /workflow/checked/2", stored("2", retry=3, foreach=[1]))
    ran = opscore("workflow", "diff", "checked", "1", "2")
    assert [line.split() for line in ran.lines[1:]] == [
        ["~", "version", '"1"', '"2"'],
        ["~", "steps.a.retry", "2", "3"],
        ["-", "steps.a.priority", "9"],
        ["+", "steps.a.foreach", "[1]"],
    ]
    assert opscore("workflow", "diff", "checked", "1", "1").err == "no difference\n"


def test_a_file_is_compared_with_the_latest(
    file: Path, server: FakeServer, opscore: Command
) -> None:
    server.on("GET /workflow/checked", stored("1"))
    rows = opscore("workflow", "diff", "t.yaml", "--json").json
    assert {"change": "~", "path": "version", "before": "1", "after": "2"} in rows
    assert any(row["path"] == "steps.b" and row["change"] == "+" for row in rows)


@pytest.mark.parametrize("words", [("checked",), ("t.yaml", "1", "2")])
def test_a_comparison_needs_two_sides(file: Path, opscore: Command, words: tuple[str, ...]) -> None:
    assert opscore("workflow", "diff", *words).code == exits.USAGE
