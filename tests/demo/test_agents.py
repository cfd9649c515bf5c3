"""The demo's agents called directly, and its templates against their functions."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from opscore.demo import agents
from opscore.demo.report import FileResult
from opscore.demo.run import TEMPLATE, URGENT
from opscore.documents import load
from opscore.sdk import Agent, Fatal, Retryable, Task
from opscore.templates import read_template


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text("def f(x):\n    return x and 1\n", encoding="utf-8")
    (tmp_path / "bad.py").write_text("def f(:\n\n\n", encoding="utf-8")
    return tmp_path


def task(attempt: int = 1, **context: Any) -> Task:
    return Task.example(attempt=attempt, context=context)


def test_scan(tree: Path) -> None:
    assert agents.scan(str(tree)) == {"files": ["bad.py", "good.py"], "skipped": []}
    with pytest.raises(Fatal, match="cannot list"):
        agents.scan(str(tree / "nowhere"))


def test_a_tree_whose_results_are_too_much_for_the_server_is_refused_at_the_start(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSCORE_PAYLOAD_LIMIT", "200")
    with pytest.raises(Fatal, match="2 Python files"):
        agents.scan(str(tree))
    monkeypatch.setenv("OPSCORE_PAYLOAD_LIMIT", "1000")
    assert len(agents.scan(str(tree))["files"]) == 2


def test_measure(tree: Path) -> None:
    result = agents.measure_file(str(tree), "good.py", task())
    assert (result.lines, result.functions, result.complexity) == (2, 1, 2)
    with pytest.raises(Fatal, match=r"bad\.py does not parse: line 1"):
        agents.measure_file(str(tree), "bad.py", task())
    with pytest.raises(Fatal, match="cannot read"):
        agents.measure_file(str(tree), "gone.py", task())


def test_the_limited_file_is_limited_once(tree: Path) -> None:
    with pytest.raises(Retryable) as refused:
        agents.measure_file(str(tree), "good.py", task(limited="good.py"))
    assert refused.value.after == 1
    assert refused.value.error_class == "rate_limited"
    assert agents.measure_file(str(tree), "good.py", task(2, limited="good.py")).lines == 2
    assert agents.measure_file(str(tree), "good.py", task(limited="other.py")).lines == 2


def test_the_careful_measurer_says_what_can_be_said(tree: Path) -> None:
    assert agents.measure_carefully(str(tree), "good.py").reason is None
    assert agents.measure_carefully(str(tree), "bad.py").lines == 3
    assert "cannot be read" in (agents.measure_carefully(str(tree), "gone.py").reason or "")


def test_rank_and_report(tree: Path, tmp_path: Path) -> None:
    results = [
        agents.measure_file(str(tree), "good.py", task()),
        agents.measure_carefully(str(tree), "bad.py"),
    ]
    given = msgspec.to_builtins(results)
    ranking = msgspec.to_builtins(agents.rank_files(given))
    target = tmp_path / "deep" / "report.md"
    skipped = [{"path": "link.py", "reason": "symbolic link"}]
    said = agents.write_report(str(tree), str(target), given, ranking, skipped)
    assert said["report"] == str(target)
    assert said["totals"]["files"] == 2
    text = target.read_text(encoding="utf-8")
    assert "bad.py" in text
    assert "link.py" in text
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(Fatal, match="unexpected input"):
        agents.rank_files([1])
    with pytest.raises(Fatal, match="cannot write"):
        agents.write_report(str(tree), str(target / "below.md"), given, ranking, skipped)


def test_results_come_back_from_json() -> None:
    one = FileResult("a.py", 1, longest=("f", 3))
    assert msgspec.convert(msgspec.to_builtins(one), FileResult) == one


def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert agents.main(["nobody"]) == 2
    assert agents.main([]) == 2
    assert "scanner" in capsys.readouterr().err


FUNCTIONS = {
    ("scan-tree", "scanner"): agents.scan,
    ("measure-file", "measurer"): agents.measure_file,
    ("count-lines", "careful-measurer"): agents.measure_carefully,
    ("rank-files", "reporter"): agents.rank_files,
    ("write-report", "reporter"): agents.write_report,
}


@pytest.mark.parametrize("file", [TEMPLATE, URGENT], ids=lambda file: file.stem)
def test_templates_give_the_functions_what_they_take(file: Path) -> None:
    """`with` must name every parameter that a function needs, and none that it does not have."""
    text = file.read_bytes()
    assert read_template(text, name=str(file)).name
    tree = cast("dict[str, Any]", load(text, name=str(file)).tree)
    for step in tree["steps"].values():
        given = set(step["with"])
        for function in _functions_of(step):
            parameters = inspect.signature(function).parameters.values()
            taken = {one.name for one in parameters if one.annotation != "Task"}
            needed = {one.name for one in parameters if one.default is one.empty} & taken
            assert needed <= given <= taken


def _functions_of(step: dict[str, Any]) -> list[Any]:
    found = [f for (capability, _), f in FUNCTIONS.items() if capability == step["capability"]]
    named = [member["agent"] for member in step.get("fallback", [])]
    return found + [f for (_, agent), f in FUNCTIONS.items() if agent in named]


@pytest.mark.parametrize(("name", "agent"), agents.ROLES.items())
def test_every_function_of_an_agent_is_covered_here(name: str, agent: Agent) -> None:
    assert agent.name == name
    assert set(agent.capabilities) == {c for c, owner in FUNCTIONS if owner == name}
