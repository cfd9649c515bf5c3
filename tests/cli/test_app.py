"""The tree of commands: help, usage errors, quiet ends, and what start-up does not import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from opscore import __version__
from opscore.cli import exits, main
from opscore.cli.app import COMMANDS
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer

HEAVY = ("aiohttp", "rich", "litestar", "apsw", "uvicorn", "msgspec", "opscore.sdk")
EXISTING = {
    "agent": {"ls", "show", "register", "drain", "activate", "refresh", "rm"},
    "workflow": {"apply", "validate", "plan", "test", "diff", "ls", "show"},
    "session": {
        *(
            "start",
            "ls",
            "show",
            "watch",
            "history",
            "cancel",
            "pause",
            "resume",
            "retry",
            "edit",
            "rm",
        ),
        *("why", "signal"),
    },
    "task": {"enqueue", "ls", "show", "why", "retry", "fallback", "cancel", "edit"},
    "approval": {"ls", "show", "approve", "reject"},
    "schedule": {"ls", "preview", "pause", "resume", "trigger"},
    "limit": {"ls"},
    "debug": {"bundle", "open"},
    "key": {"create", "ls", "rotate", "revoke"},
    "audit": {"ls", "verify"},
    "store": {"copy", "backup", "restore"},
}


def environment() -> dict[str, str]:
    """So that a fresh interpreter finds what this one imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def python(code: str, *words: str) -> str:
    """Run code in a fresh interpreter, as start-up is about what is imported first."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return done.stdout


@pytest.mark.parametrize("words", [(), ("--help",), ("agent", "ls", "--help"), ("task", "-h")])
def test_start_up_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    code = (
        "import sys, opscore.cli\n"
        "if len(sys.argv) > 1:\n"
        "    try: opscore.cli.main(sys.argv[1:])\n"
        "    except SystemExit as end: assert end.code == 0, end.code\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert python(code, *words).splitlines()[-1] == "HEAVY []"


def test_the_version_needs_no_parser() -> None:
    code = (
        "import sys, opscore.cli\n"
        "try: opscore.cli.main(['--version'])\n"
        "except SystemExit: print('cyclopts' in sys.modules)"
    )
    assert python(code).splitlines() == [f"opscore {__version__}", "False"]


def test_main_exits_with_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["agent", "show"])
    assert end.value.code == exits.USAGE
    assert capsys.readouterr().out == ""


def test_help_names_every_command_that_exists_and_no_other(opscore: Command) -> None:
    ran = opscore("--help")
    assert ran.code == exits.OK
    assert ran.err == ""
    assert _named(ran.out) == set(COMMANDS)
    for noun, verbs in EXISTING.items():
        assert _named(opscore(noun, "--help").out) == verbs


def _named(text: str) -> set[str]:
    lines = text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    return {line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "}


@pytest.mark.parametrize(
    "words",
    [
        *([name] for name in COMMANDS if name not in EXISTING),
        *([noun, verb] for noun, verbs in EXISTING.items() for verb in sorted(verbs)),
    ],
)
def test_every_command_explains_itself(opscore: Command, words: list[str]) -> None:
    ran = opscore(*words, "--help")
    assert ran.code == exits.OK
    assert ran.out.startswith(f"Usage: opscore {' '.join(words)}")
    options = ran.out.partition("Options:\n")[2]
    entries = [line for line in options.splitlines() if line.startswith("  -")]
    assert len(entries) >= 3
    # Every option says what it is for, on its own line or under it when its name is long.
    following = options.splitlines()
    for entry in entries:
        position = following.index(entry)
        assert len(entry) > 33 or following[position + 1].startswith(" " * 20), entry


@pytest.mark.parametrize("words", [[], ["agent"], ["session"]])
def test_without_a_command_the_help_is_on_stderr(opscore: Command, words: list[str]) -> None:
    ran = opscore(*words)
    assert ran.code == exits.USAGE
    assert ran.out == ""
    assert ran.err.startswith("Usage: opscore")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["agnet"], "agnet"),
        (["agnet", "--help"], "agnet"),
        (["agent", "lsx", "--help"], "lsx"),
        (["agent", "lsx"], "lsx"),
        (["agent", "ls", "--nope"], "--nope"),
        (["agent", "show"], "AGENT"),
        (["session", "ls", "--status", "nope"], "nope"),
        (["session", "ls", "--limit", "x"], "x"),
        (["session", "ls", "--limit", "0"], "--limit"),
        (["task", "edit", "t"], "--priority"),
        (["agent", "ls", "-o", "xml"], "xml"),
        (["bench", "nope"], "nope"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(opscore: Command, words: list[str], told: str) -> None:
    ran = opscore(*words)
    assert ran.code == exits.USAGE
    assert ran.out == ""
    assert told in ran.err
    assert "Traceback" not in ran.err


def test_a_bench_that_is_not_there_is_told(
    opscore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opscore.cli.bench.PACKAGE", "opscore.no_bench")
    ran = opscore("bench", "engine", "--json")
    assert ran.code == exits.ERROR
    assert ran.out == ""
    assert "'engine'" in ran.err


def test_a_reader_that_leaves_is_no_error(server: FakeServer) -> None:
    views = [samples.agent(f"agent-{number}", "a" * 100) for number in range(5000)]
    server.on("GET /agent", samples.agents(*views))
    process = subprocess.Popen(
        [sys.executable, "-m", "opscore.cli", "agent", "ls", "--limit", "5000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"AGENT")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == exits.OK
    process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_detaches_from_a_run(server: FakeServer, tmp_path: Path) -> None:
    server.on("POST /session", samples.accepted(), status=202)
    server.on("GET /session/ses_1", samples.session("processing"))
    process = subprocess.Popen(
        [sys.executable, "-m", "opscore.cli", "run", "greet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
        env=environment(),
    )
    assert process.stderr is not None
    while "session: processing" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == exits.INTERRUPTED
    assert out == ""
    assert "opscore session cancel ses_1" in err
    assert "Traceback" not in err
    assert not any(seen.path.endswith("cancel") for seen in server.seen)
