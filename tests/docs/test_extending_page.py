"""The extensions of docs/extending.md: each is put into a copy of the source, registered, and tried."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opscore import inprocess
from tests.docs.pages import ROOT, page

PAGE = page("docs/extending.md")
BLOCK = r"\n\n```(?:python|yaml)\n(.*?)```"
FILES = re.findall(rf"<!-- file: (\S+) -->{BLOCK}", PAGE, re.DOTALL)
REGISTRATIONS = re.findall(
    rf"<!-- registration: (\S+) \| (.+?) \| (.+?) -->{BLOCK}", PAGE, re.DOTALL
)
TRIALS = re.findall(r"```yaml\n(name: .*?)```\s+```yaml\n(# rehearsal\n.*?)```", PAGE, re.DOTALL)
RUN = """
import sys
from pathlib import Path
from opscore.rehearsal import rehearse_files
for found in rehearse_files(Path(sys.argv[1]), Path(sys.argv[2])):
    print(found.name, found.mistakes)
    assert not found.mistakes
"""


CALL = """
import asyncio, json, sys
from opscore import inprocess
from opscore.engine.lifecycle import AgentDetails

async def answer(reader, writer):
    given = json.loads(await reader.readline())
    writer.write(json.dumps(sum(given["x"])).encode() + b"\\n")
    await writer.drain()
    writer.close()

async def main(path):
    server = await asyncio.start_unix_server(answer, path)
    async with inprocess.open("sqlite:///:memory:") as ops:
        details = AgentDetails("adder", capabilities=("add",), channel="unix", contact_endpoint=path)
        await ops.lifecycle.register_agent(details)
        steps = {"a": {"capability": "add", "with": {"x": [1, 2]}}}
        tree = {"name": "sum", "version": "1", "steps": steps, "output": "${{ steps.a.output }}"}
        await ops.orchestration.create_workflow(tree)
        ended = await ops.orchestration.wait(await ops.orchestration.start("sum"), 60)
        assert bytes(ended.output) == b"3", ended
    server.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the source with one file and one registration for each extension."""
    shutil.copytree(ROOT / "src" / "opscore", tmp_path / "opscore")
    for name, text in FILES:
        (tmp_path / "opscore" / name).write_text(text, encoding="utf-8")
    for name, collection, entry, imported in REGISTRATIONS:
        path = tmp_path / "opscore" / name
        before = path.read_text(encoding="utf-8")
        assert before.count(collection) == 1, f"{collection} is not in {name}"
        registered = before.replace(collection, f"{collection}{entry}, ")
        future = "from __future__ import annotations\n"
        path.write_text(registered.replace(future, future + imported), encoding="utf-8")
    return tmp_path


def test_an_extension_is_one_file_and_one_registration(source: Path) -> None:
    assert len(FILES) == len(REGISTRATIONS) == len(TRIALS) + 1 == 4
    for template, mocks in TRIALS:
        (source / "t.yaml").write_text(template, encoding="utf-8")
        (source / "m.yaml").write_text(mocks, encoding="utf-8")
        run(source, RUN, str(source / "t.yaml"), str(source / "m.yaml"))


def run(source: Path, program: str, *words: str) -> None:
    """Run a program with the copy of the source."""
    paths = [str(source), *(path for path in sys.path if "site-packages" in path)]
    ran = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=source,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert ran.returncode == 0, ran.stderr[-2000:] + ran.stdout


def test_a_channel_on_which_we_call_is_one_too(source: Path) -> None:
    run(source, CALL, "agent.sock")


async def test_the_channel_carries_tasks(tmp_path: Path) -> None:
    [text] = re.findall(rf"<!-- channel -->{BLOCK}", PAGE, re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(text, "extending.md", "exec"), made)
    async with inprocess.open("sqlite:///:memory:") as ops:
        await made["FileChannel"](ops, tmp_path).join("clerk", "add")
        tree = {
            "name": "sum",
            "version": "1",
            "steps": {"a": {"capability": "add", "with": {"x": [1, 2]}}},
            "output": "${{ steps.a.output }}",
        }
        await ops.orchestration.create_workflow(tree)
        session = await ops.orchestration.start("sum")
        while not (asked := list(tmp_path.glob("*.task.json"))):  # noqa: ASYNC110 - a clerk looks
            await asyncio.sleep(0.01)
        total = sum(json.loads(asked[0].read_text())["x"])
        answer = str(asked[0]).replace(".task.", ".answer.")
        Path(answer + ".new").write_text(json.dumps(total))
        Path(answer + ".new").rename(answer)
        ended = await ops.orchestration.wait(session, 60)
        assert ended.output is not None
        assert json.loads(bytes(ended.output)) == 3
