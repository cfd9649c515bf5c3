"""What README shows is run as it stands there, against a real server."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.docs.conftest import Run, Start
from tests.docs.pages import ROOT, blocks, marked, page

README = page("README.md")


def commands(program: str) -> list[list[str]]:
    """The lines of the page's shell blocks that call `program`, without it."""
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    split = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in split if words and words[0] == program]


@pytest.mark.e2e
@pytest.mark.usefixtures("server")
def test_the_agent_and_the_template_do_what_the_page_says(
    tmp_path: Path, start: Start, opscore: Run
) -> None:
    examples = tmp_path / "examples"
    examples.mkdir()
    (examples / "agent.py").write_text(marked(README, "agent: 20 lines", "agent"), "utf-8")
    template = marked(README, "template: 15 lines", "template")
    (examples / "workflow.yaml").write_text(template, "utf-8")
    shutil.copy(ROOT / "LICENSE", tmp_path)
    start(*commands("python")[0])
    [command] = [words for words in commands("opscore") if words[0] == "run"]
    ran = opscore([*command, "--timeout", "60"])
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == marked(README, "printed", "printed")


def test_the_agent_and_the_template_are_as_short_as_their_headings_say() -> None:
    for start, end in (("agent: 20 lines", "agent"), ("template: 15 lines", "template")):
        lines = marked(README, start, end).splitlines()
        said = int(re.findall(r"\d+", start)[0])
        assert len([line for line in lines if line.strip()]) <= said


def test_the_examples_are_those_of_the_page() -> None:
    agent, template = page("examples/agent.py"), page("examples/workflow.yaml")
    assert agent.endswith(marked(README, "agent: 20 lines", "agent"))
    assert template.endswith(marked(README, "template: 15 lines", "template"))


def test_the_test_command_is_the_one_that_is_run_for_every_change() -> None:
    assert "make test     # " in README
    assert "make test" in page(".ci/run")


def test_the_demo_screen_is_the_end_of_a_demo_that_lost_nothing() -> None:
    screen = marked(README, "demo: last screen", "demo")
    assert "0 lost, 0 recorded twice, through 2 kills" in screen
    for word in ("Report    ", "Template  ", "Kept in   ", "opscore session show ses_"):
        assert word in screen
