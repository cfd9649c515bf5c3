"""The directory of templates: applied at start, again when saved; sessions keep their versions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from opscore import inprocess
from opscore.cli.serve import WorkflowFolder
from opscore.inprocess import Operations

TICKS = count(1)
GOOD = (
    'name: {name}\nversion: "{version}"\nsteps: {{a: {{value: {value}}}}}\n'
    'output: "${{{{ steps.a.output }}}}"\n'
)


@pytest.fixture
async def ops() -> AsyncIterator[Operations]:
    async with inprocess.open("sqlite:///:memory:") as opened:
        yield opened


def write(path: Path, name: str = "one", version: str = "1", value: object = 1) -> None:
    path.write_text(GOOD.format(name=name, version=version, value=value), encoding="utf-8")
    # The clock of a file system may be too coarse to tell two writes of one test apart.
    later = path.stat().st_mtime_ns + next(TICKS) * 1_000_000_000
    os.utime(path, ns=(later, later))


async def known(ops: Operations) -> list[tuple[str, str]]:
    listed = await ops.orchestration.list_workflows()
    return [(record.name, record.version) for record in listed.items]


async def test_one_bad_file_is_reported_and_the_others_load(
    ops: Operations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "b.yaml", "b")
    write(tmp_path / "c.yml", "c")
    (tmp_path / "a.yaml").write_text("name: a\nversion: 1\nsteps: {x: {capabilty: c}}\n")
    (tmp_path / "notes.txt").write_text("not a template")
    await WorkflowFolder(tmp_path).apply(ops.engine)
    assert await known(ops) == [("b", "1"), ("c", "1")]
    told = capsys.readouterr().err
    assert f"{tmp_path / 'a.yaml'}:2:10: version must be text, not a number" in told
    assert f"{tmp_path / 'a.yaml'}:3:13: unknown key 'capabilty'" in told
    assert "did you mean 'capability'?" in told
    assert f"{tmp_path / 'b.yaml'}: b 1 created" in told


async def test_what_is_saved_is_applied_again_and_nothing_else(
    ops: Operations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    write(file)
    write(other, "two")
    folder = WorkflowFolder(tmp_path)
    await folder.apply(ops.engine)
    capsys.readouterr()
    await folder.apply(ops.engine)
    assert capsys.readouterr().err == ""
    write(file, version="2", value=2)
    await folder.apply(ops.engine)
    assert capsys.readouterr().err == f"{file}: one 2 created\n"
    assert await known(ops) == [("one", "2"), ("two", "1")]


async def test_other_content_under_the_same_version_is_told_with_what_to_do(
    ops: Operations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    write(file)
    folder = WorkflowFolder(tmp_path)
    await folder.apply(ops.engine)
    write(file, value=2)
    await folder.apply(ops.engine)
    assert "one version 1 exists with other content; give the new content a new version" in (
        capsys.readouterr().err
    )


async def test_a_directory_that_is_gone_is_told_once(
    ops: Operations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    folder = WorkflowFolder(gone)
    gone.rmdir()
    await folder.apply(ops.engine)
    await folder.apply(ops.engine)
    assert capsys.readouterr().err.count("No such file") == 1


async def test_sessions_keep_their_versions_for_ever(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'ops.db'}"
    text = (
        'name: slow\nversion: "{version}"\nsteps:\n  wait: {{signal: go}}\n'
        '  say: {{needs: wait, value: "version {version}"}}\noutput: "${{{{ steps.say.output }}}}"\n'
    )
    async with inprocess.open(database) as ops:
        await ops.orchestration.create_workflow(text.format(version="1"))
        session = await ops.orchestration.start("slow")
        await ops.orchestration.create_workflow(text.format(version="2"))
    async with inprocess.open(database) as ops:
        newer = await ops.orchestration.start("slow")
        for each, said in ((session, b'"version 1"'), (newer, b'"version 2"')):
            await ops.orchestration.signal(each, "go")
            ended = await ops.orchestration.wait(each, 60)
            assert ended.output is not None
            assert bytes(ended.output) == said
