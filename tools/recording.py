"""Records the terminal session of the README: the demo's failures, found by commands.

    make recording      (or: python -m tools.recording)

Everything is real: the demo runs on a small tree with two files that do not parse, kills a measurer and the server, and
the commands run in a pseudo-terminal against a server on what it left. They are written as a picture and as text;
tests/e2e/test_recording.py records once more and compares what does not depend on time.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "recordings" / "failures.svg"
TEXT = ROOT / "docs" / "recordings" / "failures.txt"
WIDTH, HEIGHT = 100, 60
PROMPT = "$ opscore "
FILES = 60
BROKEN = ("pkg0/broken.py", "pkg1/worse.py")
FUNCTION = "\ndef function_{n}(a, b):\n    if a and b:\n        return [x for x in range(a) if x]\n    return a or b\n"


class Taken(NamedTuple):
    """A command and what a terminal was sent."""

    command: str
    output: str


def tree(root: Path) -> None:
    """Python files, of which two do not parse; large enough that a measurer is met at work."""
    for number in range(FILES - len(BROKEN)):
        file = root / f"pkg{number % 4}" / f"module_{number}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(FUNCTION.format(n=n) for n in range(150)), encoding="utf-8")
    for broken in BROKEN:
        (root / broken).write_text("def f(:\n\n", encoding="utf-8")


def recorded(folder: Path) -> list[Taken]:
    """Run the demo in `folder`, then the commands on what it left."""
    tree(folder / "tree")
    environment = surroundings(folder)
    demo = opscore("demo", "--path", str(folder / "tree"), "--json")
    ran = subprocess.run(demo, env=environment, cwd=folder, capture_output=True, check=True)
    said = json.loads(ran.stdout)
    database = f"sqlite:///{Path(said['report']).parent / 'ops.db'}"
    serving = opscore("dev", "--database-url", database, "--port", "0")
    server = subprocess.Popen(
        serving,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        environment["OPSCORE_URL"] = server.stdout.readline().strip()
        return list(story(said["sessionId"], environment, folder))
    finally:
        server.kill()
        server.wait(30)
        server.stdout.close()


def story(session: str, environment: Mapping[str, str], folder: Path) -> Iterator[Taken]:
    """Each command but the first is one that the one before it offers."""
    shown = taken(f"session show {session}", environment, folder)
    yield shown
    for what in ("why it failed", "where the time went"):
        yield taken(offered(shown.output, what), environment, folder)


def offered(screen: str, what: str) -> str:
    """The words after `opscore` of the command that a screen offers for something."""
    (line,) = [line for line in screen.splitlines() if line.strip().startswith(what)]
    return line.partition("opscore ")[2].strip()


def surroundings(folder: Path) -> dict[str, str]:
    """No setting of whoever records, and this very program on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPSCORE_")}
    kept.pop("NO_COLOR", None)
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "opscore"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom opscore.cli import main\nmain()\n", encoding="utf-8"
    )
    program.chmod(0o755)
    return {
        **kept,
        "PATH": f"{programs}{os.pathsep}{kept.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(folder),
        "TERM": "xterm-256color",
        "COLUMNS": str(WIDTH),
    }


def opscore(*words: str) -> list[str]:
    return [sys.executable, "-m", "opscore", *words]


def taken(words: str, environment: Mapping[str, str], folder: Path) -> Taken:
    """Run one command in a pseudo-terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    program = str(folder / "bin" / "opscore")
    process = subprocess.Popen(
        [program, *words.split()],
        env=environment,
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    output = b"".join(received(ours))
    os.close(ours)
    if process.wait(30) != 0:
        raise SystemExit(f"opscore {words} failed:\n{output.decode()}")
    return Taken(words, output.decode().replace("\r\n", "\n").strip("\n"))


def received(terminal: int) -> Iterator[bytes]:
    """All that is sent to a terminal until the program has left it."""
    while True:
        try:
            data = os.read(terminal, 65_536)
        except OSError:  # what Linux says once nobody has the other end
            return
        if not data:
            return
        yield data


def plain(story: list[Taken]) -> str:
    """The story as text without colours."""
    parts = [f"{PROMPT}{one.command}\n{Text.from_ansi(one.output).plain}\n" for one in story]
    return "\n".join("\n".join(map(str.rstrip, part.split("\n"))) for part in parts)


def picture(story: list[Taken]) -> str:
    """The story as a picture that needs nothing from elsewhere."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False
    )
    for place, one in enumerate(story):
        console.print(Text(f"{chr(10) if place else ''}{PROMPT}{one.command}", style="bold green"))
        console.print(Text.from_ansi(one.output), soft_wrap=True)
    # Rich's own form asks for a font from a server; every reader has some monospaced one.
    form = re.sub(r"@font-face \{\{.*?\n    \}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    form = form.replace("Fira Code, monospace", "Menlo, Consolas, DejaVu Sans Mono, monospace")
    return console.export_svg(title="opscore", code_format=form, unique_id="opscore")


def structure(text: str) -> list[list[str]]:
    """What a recording shows, for each command, whatever the times, ids and counts are."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith(PROMPT):
            found.append([re.sub(r"(ses|tsk)_\S+", r"\1_", line)])
        elif line[:1].isalpha() and found:
            found[-1].append(re.split(r"  |: ", line)[0])
    return [list(dict.fromkeys(one)) for one in found]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="opscore-recording-") as folder:
        story = recorded(Path(folder))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture(story), encoding="utf-8")
    TEXT.write_text(plain(story), encoding="utf-8")
    print(f"recorded {PICTURE.relative_to(ROOT)} and {TEXT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
