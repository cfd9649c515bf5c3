"""The demo itself, on a small tree: real processes, real sockets, kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from opscore.demo.report import escape

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc"),
]

FILES = 60
BROKEN = ("pkg0/broken.py", "pkg1/worse.py")
FUNCTION = """
def function_{n}(a, b):
    if a and b:
        return [x for x in range(a) if x]
    return a or b
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """60 files in 4 packages, of which two do not parse; large enough to be met at work."""
    root = tmp_path / "a tree"
    for number in range(FILES - len(BROKEN)):
        file = root / f"pkg{number % 4}" / f"module_{number}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(FUNCTION.format(n=n) for n in range(150)), encoding="utf-8")
    for broken in BROKEN:
        (root / broken).write_text("def f(:\n\n", encoding="utf-8")
    return root


def start(tree: Path, directory: Path) -> subprocess.Popen[str]:
    """The demo as a user starts it; everything it makes is below `directory`."""
    directory.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "opscore", "demo", "--path", str(tree), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": str(directory),
            # A trap: the demo must not talk to the server that its user works with.
            "OPSCORE_URL": "http://127.0.0.1:9",
            "OPSCORE_API_KEY": "not the demo's key",
        },
    )


def begun(tree: Path, directory: Path) -> subprocess.Popen[str]:
    """The demo, with its session just started."""
    demo = start(tree, directory)
    assert demo.stderr is not None
    for line in demo.stderr:
        if "session ses_" in line:
            return demo
    raise AssertionError("the demo ended before its session began")


def left_over(directory: Path) -> dict[str, int]:
    """Processes that still work in a directory below this one: command line → process id."""
    found: dict[str, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            here = (entry / "cwd").readlink()
        except OSError:  # it ended, or is not ours
            continue
        if here.is_relative_to(directory):
            found[(entry / "cmdline").read_text().replace("\0", " ")] = int(entry.name)
    return found


def test_the_demo_does_what_it_says(tree: Path, tmp_path: Path) -> None:
    directory = tmp_path / "kept"
    demo = start(tree, directory)
    out, err = demo.communicate(timeout=100)
    assert demo.returncode == 0, err
    said: dict[str, Any] = msgspec.json.decode(out)
    assert said["wrong"] == []
    assert said["status"] == "completed"
    assert (said["files"], said["completions"]) == (FILES, FILES)
    assert (said["lost"], said["doubled"], said["fallbacks"]) == (0, 0, len(BROKEN))
    assert said["unparsed"] in BROKEN
    # scan, rank, report; one for each file; one more for each that does not parse
    assert said["tasks"] == 3 + FILES + len(BROKEN)
    assert said["attempts"] >= said["tasks"]
    assert said["seconds"] > 0
    _check_report(Path(said["report"]), tree)
    _check_story(said, err)
    assert left_over(directory) == {}
    _check_commands(said, tmp_path, killed="kill -9 measurer" in err)


def _check_report(report: Path, tree: Path) -> None:
    rows = report.read_text(encoding="utf-8").partition("## Every file\n")[2].splitlines()
    told = sorted(row.split(" | ")[0][2:] for row in rows if row.startswith("| "))[2:]
    there = [escape(str(file.relative_to(tree))) for file in tree.rglob("*.py")]
    assert told == sorted(there)


def _check_story(said: dict[str, Any], err: str) -> None:
    """A kill that the tree was too small for is said to be missing, and any other is told."""
    assert ("kill -9 measurer" in err) + ("kill -9 the server" in err) == said["kills"]
    for kill, excuse in (("measurer", "no measurer held"), ("the server", "the job was over")):
        assert (f"kill -9 {kill}" in err) != (excuse in err)
    assert f"0 lost, 0 recorded twice, through {said['kills']} kill" in err
    if said["retriedAfterSeconds"] is not None:
        assert said["retriedAfterSeconds"] >= 1


def _check_commands(said: dict[str, Any], tmp_path: Path, *, killed: bool) -> None:
    """The commands of the last screen, as they are printed, in a shell; and what they lead to."""
    server, show, failed = said["commands"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = subprocess.Popen(
        f"exec {server} --port 0",
        shell=True,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    try:
        environment["OPSCORE_URL"] = running.stdout.readline().strip()

        def run(command: str) -> str:
            ran = subprocess.run(
                command,
                shell=True,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, (command, ran.stderr)
            return ran.stdout

        assert BROKEN[0] in run(failed)
        _find_the_broken_file(run, show)
        _find_the_killed_measurer(run, show, killed=killed)
    finally:
        running.kill()
        running.wait(30)
        running.stdout.close()


def _find_the_broken_file(run: Callable[[str], str], show: str) -> None:
    """Two commands: the session names every file that failed, the task says all about one."""
    session = run(show)
    for broken in BROKEN:
        assert f"fatal: {broken} does not parse: line 1: invalid syntax" in session
    task = run(next_command(session, "why it failed"))
    assert any(f'"file": "{broken}"' in task for broken in BROKEN)
    assert "does not parse: line 1" in task
    assert "measurer" in task.partition("ATTEMPT")[2]


def _find_the_killed_measurer(run: Callable[[str], str], show: str, *, killed: bool) -> None:
    """Three commands: the session says who was lost, its warnings with what, the task who went on."""
    session = run(show)
    assert ("agent_lost: no sign of life from instance measurer-" in session) == killed
    if not killed:
        return  # the tree was too small for it, as the demo said
    said = run(next_command(session, "what was said"))
    lost = next(line for line in said.splitlines() if "error=agent_lost" in line)
    instance = lost.split("from instance ")[1].split()[0]
    task = lost.split("task=tsk_")[1].split()[0]
    program = show.partition(" session show")[0]
    first, *_, last = [
        line.split()
        for line in run(f"{program} task show tsk_{task}").splitlines()
        if " measurer" in line
    ][:2]
    assert first[:4] == ["1", "measurer", instance, first[3]]
    assert first.count("failed") == 1 and instance not in last
    assert last[0] == "2"


def next_command(screen: str, what: str) -> str:
    """The command that a screen offers for something, as it stands there."""
    (line,) = [line for line in screen.partition("\nnext\n")[2].splitlines() if what in line]
    return line.partition(what)[2].strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_behind(
    tree: Path, tmp_path: Path, number: signal.Signals
) -> None:
    directory = tmp_path / "kept"
    demo = begun(tree, directory)
    assert len(left_over(directory)) == 7, "a server and six agents"
    demo.send_signal(number)
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 128 + number, err
    assert out == ""
    assert "no process is left behind" in err
    assert "Traceback" not in err
    assert left_over(directory) == {}


def test_a_process_that_dies_by_itself_ends_the_demo(tree: Path, tmp_path: Path) -> None:
    directory = tmp_path / "kept"
    demo = begun(tree, directory)
    (reporter,) = [pid for words, pid in left_over(directory).items() if "reporter" in words]
    os.kill(reporter, signal.SIGKILL)
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 1, err
    assert out == ""
    assert "reporter ended with code -9" in err
    assert left_over(directory) == {}
    assert "Died" in next(directory.glob("*/logs/demo.log")).read_text(encoding="utf-8")


@pytest.mark.parametrize("broken", ["missing", "empty"])
def test_a_path_without_python_is_told(tmp_path: Path, broken: str) -> None:
    (tmp_path / "empty").mkdir()
    demo = start(tmp_path / broken, tmp_path / "kept")
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 2
    assert out == ""
    assert broken in err
    assert left_over(tmp_path / "kept") == {}
