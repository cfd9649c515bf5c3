"""The programs of docs/agents.md are run as they stand there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from opscore.outgoing.signing import Signing, signed
from tests.docs.conftest import Start
from tests.docs.pages import blocks, page

PAGE = page("docs/agents.md")
AGENT, CALLER, RECEIVER, TESTED = blocks(PAGE, "python")


@pytest.mark.e2e
@pytest.mark.usefixtures("server")
def test_the_agent_and_its_caller_print_what_the_page_says(
    tmp_path: Path, start: Start, surroundings: dict[str, str]
) -> None:
    (tmp_path / "agent.py").write_text(AGENT, "utf-8")
    start("agent.py")
    called = subprocess.run(
        [sys.executable, "-c", CALLER],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env=surroundings,
    )
    assert called.returncode == 0, called.stderr
    assert called.stdout == blocks(PAGE, "text")[0]


def test_the_tested_function_is_tested(surroundings: dict[str, str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", TESTED], capture_output=True, check=False, env=surroundings
    )
    assert ran.returncode == 0, ran.stderr


def test_the_receiver_knows_a_message_that_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(RECEIVER, "agents.md", "exec"), names)
    secret, body = Signing(b"root").secret("callback", "ses_1"), b'{"type": "session.completed"}'
    headers = signed(secret, "ses_1-end", int(time.time()), body)
    assert [names["told"](secret, headers, body) for _ in range(2)] == [204, 204]
    assert names["told"](secret, headers, body + b" ") == 401
    assert capsys.readouterr().out == "session.completed\n"
