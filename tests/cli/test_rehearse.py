"""`opscore workflow test`, as docs/testing.md tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from opscore.cli import exits
from tests.cli.conftest import Command
from tests.docs.pages import blocks, page

PAGE = page("docs/testing.md")
TEMPLATE, MOCKS = blocks(PAGE, "yaml")


@pytest.fixture
def files(clean_settings: Path) -> Path:
    (clean_settings / "digest.yaml").write_text(TEMPLATE)
    (clean_settings / "digest.mocks.yaml").write_text(MOCKS)
    return clean_settings


COMMAND = ("workflow", "test", "digest.yaml", "--mocks", "digest.mocks.yaml")


def test_the_page_shows_what_the_command_prints(files: Path, opscore: Command) -> None:
    ran = opscore(*COMMAND)
    shown = blocks(PAGE, "console")[0]
    assert f"$ opscore {' '.join(COMMAND)}\n{ran.out}" == shown
    assert (ran.code, ran.err) == (exits.OK, "")


def test_a_case_that_ends_otherwise_is_exit_1(files: Path, opscore: Command) -> None:
    (files / "digest.mocks.yaml").write_text(
        "input: {urls: []}\nsteps: {sum_up: {output: x}}\nexpect: {output: y}\n"
    )
    ran = opscore(*COMMAND)
    assert ran.code == exits.ERROR
    assert ran.lines == [
        "failed  the case (completed after 0 simulated seconds)",
        '  output: expected "y", found "x"',
    ]


def test_cases_as_json(files: Path, opscore: Command) -> None:
    first, second, _ = opscore(*COMMAND, "--json").json
    assert (first["case"], first["passed"], first["status"]) == (
        "all goes well",
        True,
        "completed",
    )
    assert (second["attempts"], second["seconds"]) == ({"fetch": 3, "sum_up": 1}, 600.0)
    assert len(opscore(*COMMAND, "-o", "jsonl").lines) == 3


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("digest.yaml", "name: x\n", "digest.yaml:1:1: the template has no version"),
        ("digest.mocks.yaml", "steps: 1\n", "digest.mocks.yaml:1:8: steps must be a mapping"),
        ("digest.mocks.yaml", "workflows: other.yaml\n", "other.yaml: No such file"),
        ("digest.mocks.yaml", "input: {}\n", "/input"),
        ("digest.mocks.yaml", "steps: {x: {output: 1}}\n", "step 'x', which does not exist"),
    ],
)
def test_mistakes_in_the_files_are_told(
    files: Path, opscore: Command, name: str, text: str, words: str
) -> None:
    (files / name).write_text(text)
    ran = opscore(*COMMAND)
    assert (ran.code, ran.out) == (exits.ERROR, "")
    assert words in ran.err


def test_a_missing_file_is_told(opscore: Command) -> None:
    ran = opscore("workflow", "test", "nowhere.yaml", "--mocks", "nowhere.mocks.yaml")
    assert ran.code == exits.ERROR
    assert "nowhere.mocks.yaml: No such file" in ran.err
