"""What docs/api.md says is asked of a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, get_args
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from opscore.api import problems
from opscore.api.access import PERMISSIONS, Forbidden, Unauthenticated
from opscore.api.app import by_path
from opscore.api.limits import TooMany
from opscore.core import errors
from opscore.core.access import GRANTS
from opscore.wire.task import VerdictWord
from tests.docs.conftest import Run
from tests.docs.pages import ROOT, blocks, page

PAGE = page("docs/api.md")
Ask: TypeAlias = Callable[..., tuple[int, Any]]


def first_cells(heading: str) -> list[str]:
    """The words in the first column of the first table after a heading."""
    table = PAGE.split(heading, 1)[1].split("|---", 1)[1].split("\n\n", 1)[0]
    return [
        cell
        for line in table.splitlines()[1:]
        for cell in re.findall(r"[\w:]+", line.split("|")[1])
    ]


@pytest.fixture
def ask(server: str) -> Ask:
    def send(path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{server}{path}", data, {"content-type": "application/json", **headers})
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except HTTPError as refused:
            return refused.code, json.load(refused)

    return send


def test_the_rights_are_those_of_the_code() -> None:
    rights = re.findall(r"^\| `([a-z:]+)` \|", PAGE.split("## Starting")[0], re.MULTILINE)
    assert set(rights) == PERMISSIONS - {"public"}
    used = {one.permission for operations in by_path().values() for one in operations}
    assert set(rights) == used - {"public"}


def test_the_scopes_grant_what_the_page_says() -> None:
    rows = re.findall(
        r"^\| `([a-z:]+)` \|.*\| ([^|]*) \|$", PAGE.split("## Starting")[0], re.MULTILINE
    )
    told = {right: set(re.findall(r"`([a-z:]+)`", scopes)) for right, scopes in rows}
    assert told == {
        right: {scope for scope, grants in GRANTS.items() if right in grants}
        for right in PERMISSIONS - {"public"}
    }


def test_the_verdicts_and_statuses_are_those_of_the_code() -> None:
    assert set(first_cells("## Working without the SDK")) == set(get_args(VerdictWord))
    refusals = [
        one.status
        for module in (errors, problems)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, errors.Refusal)
    ]
    known = {*refusals, Unauthenticated.status, Forbidden.status, TooMany.status}
    assert set(map(int, first_cells("## Refusals"))) == known


@pytest.mark.e2e
def test_a_refusal_looks_as_the_page_says(ask: Ask) -> None:
    wanted = json.loads(blocks(PAGE, "json")[0])
    status, problem = ask("/v1/opscore/session", {"workflow": "nothing"})
    assert status == wanted["status"]
    assert len(problem.pop("traceId")) == 32
    assert {**wanted, "errors": []} == {**problem, "traceId": "…", "errors": []}


@pytest.mark.e2e
def test_work_is_done_without_the_sdk_and_fenced(ask: Ask, opscore: Run) -> None:
    assert opscore(["workflow", "apply", str(ROOT / "examples/workflow.yaml")]).returncode == 0
    base = "/v1/opscore"
    status, agent = ask(
        f"{base}/agent", {"agentName": "mine", "capabilities": ["count-words", "sum-up"]}
    )
    assert status == 201
    body = {"workflow": "words", "input": {"files": ["a"]}, "labels": {"order": "4711"}}
    status, started = ask(f"{base}/session", body)
    assert status == 202
    assert (
        ask(f"{base}/session?label=order=4711")[1]["sessions"][0]["sessionId"]
        == started["sessionId"]
    )
    for output in (5, "5 words in 1 files"):
        attempt = claimed(ask, agent["agentId"])
        pair = [attempt["taskId"], attempt["attempt"]]
        beat = {"instanceId": "mine-1", "attempts": [pair, [attempt["taskId"], 99]]}
        stale = ask(f"{base}/agent/{agent['agentId']}/heartbeat", beat)[1]["stale"]
        assert stale == [[attempt["taskId"], 99]]
        report = {"taskId": pair[0], "attempt": pair[1], "outcome": "completed", "output": output}
        late, stranger = {**report, "attempt": 99}, {**report, "taskId": "tsk_none-1"}
        settled = ask(f"{base}/task/settle", {"settlements": [report, report, late, stranger]})[1]
        words = [one["verdict"] for one in settled["verdicts"]]
        assert words == ["recorded", "recorded", "stale_attempt", "unknown_task"]
    session = ask(f"{base}/session/{started['sessionId']}")[1]
    assert (session["status"], session["output"]) == ("completed", "5 words in 1 files")
    assert ask(f"{base}/task/{pair[0]}/complete", {"attempt": 99})[0] == 409


def claimed(ask: Ask, agent_id: str) -> dict[str, Any]:
    body = {"instanceId": "mine-1", "max": 10, "waitSeconds": 20}
    [attempt] = ask(f"/v1/opscore/agent/{agent_id}/claim", body)[1]["tasks"]
    return attempt


@pytest.mark.e2e
@pytest.mark.usefixtures("server")
def test_prefer_wait_answers_with_the_whole_session(ask: Ask, tmp_path: Path, opscore: Run) -> None:
    (tmp_path / "sum.yaml").write_text("{name: s, version: '1', steps: {a: {value: 3}}}", "utf-8")
    assert opscore(["workflow", "apply", "sum.yaml"]).returncode == 0
    status, session = ask("/v1/opscore/session", {"workflow": "s"}, prefer="wait=30")
    assert (status, session["status"]) == (200, "completed")
    status, accepted = ask("/v1/opscore/session", {"workflow": "s"})
    assert (status, "sessionId" in accepted) == (202, True)
    batch = {"sessions": [{"workflow": "s"}, {"workflow": "none"}]}
    assert ask("/v1/opscore/session/batch", batch)[0] == 404
    assert len(ask("/v1/opscore/session")[1]["sessions"]) == 2


@pytest.mark.e2e
@pytest.mark.parametrize("path", re.findall(r"`GET (/[\w./]+)`", PAGE.split("## Who may")[0])[:3])
def test_what_describes_the_routes_is_there(server: str, path: str) -> None:
    with urlopen(server + path, timeout=60) as answer:
        assert answer.status == 200
