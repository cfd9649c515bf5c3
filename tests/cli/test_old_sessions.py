"""`opscore session rm --older-than`: what ended long ago goes, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest

from opscore.cli import exits
from opscore.engine.engine import Engine
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer
from tests.cli.test_real_server import running

DAY = 86_400_000_000
LONG_AGO, LATER = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


def page(*rows: tuple[str, str], more: str | None = None) -> dict[str, Any]:
    sessions = [{"sessionId": one, "finishedAt": at} for one, at in rows]
    return {"sessions": sessions, "nextCursor": more}


def deleted(server: FakeServer) -> list[str]:
    return [seen.path for seen in server.seen if seen.method == "DELETE"]


def answer(server: FakeServer) -> None:
    """Completed ones on two pages, one in error, none cancelled; one has been retried since."""
    pages = [
        page(("ses_1", LONG_AGO), ("ses_2", LATER), more="c"),
        page(("ses_3", LONG_AGO)),
        page(("ses_4", LONG_AGO)),
        page(),
    ]
    server.on("GET /health", {})
    server.on("GET /session", *pages)
    for one in ("ses_1", "ses_3"):
        server.on(f"DELETE /session/{one}", b"", status=204)
    server.refuse("DELETE /session/ses_4", 409, "session ses_4 is processing; cancel it first")


def test_pages_are_gone_through_and_refusals_told(server: FakeServer, opscore: Command) -> None:
    answer(server)
    ran = opscore("session", "rm", "--older-than", "30d", "--workflow", "w", "--json")
    assert ran.code == exits.ERROR
    assert ran.json["ids"] == ["ses_1", "ses_3", "ses_4"] and ran.json["deleted"] == 2
    assert [one["id"] for one in ran.json["refused"]] == ["ses_4"]
    assert [path.rpartition("/")[2] for path in deleted(server)] == ["ses_1", "ses_3", "ses_4"]
    asked = [seen.query for seen in server.seen if seen.path.endswith("/session")]
    assert [one["status"] for one in asked] == ["completed", "completed", "error", "cancelled"]
    assert [one.get("cursor") for one in asked] == [None, "c", None, None]
    assert all(one["workflow"] == "w" and one["until"].endswith("Z") for one in asked)


def test_a_dry_run_deletes_nothing(server: FakeServer, opscore: Command) -> None:
    answer(server)
    ran = opscore("session", "rm", "--older-than", "30d", "--dry-run")
    assert ran.code == exits.OK and ran.lines == ["ses_1", "ses_3", "ses_4"]
    assert "nothing was changed" in ran.err and deleted(server) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "which sessions"),
        (("ses_1", "--older-than", "1d"), "which sessions"),
        (("ses_1", "--dry-run"), "go with --older-than"),
        (("--older-than", "soon"), "not a duration"),
        (("--older-than", "999999d"), "before all time"),
    ],
)
def test_what_is_not_clear_deletes_nothing(
    server: FakeServer, opscore: Command, words: tuple[str, ...], told: str
) -> None:
    server.on("GET /health", {})
    ran = opscore("session", "rm", *words)
    assert ran.code == exits.USAGE and told in ran.err and deleted(server) == []


async def _three() -> list[str]:
    """One that ended long ago, one that ended just now, and one that is open, begun long ago."""
    async with await Engine.open("sqlite:///ops.db") as engine:
        ops = engine.orchestration
        await ops.create_workflow({"name": "v", "version": "1", "steps": {"a": {"value": 3}}})
        await ops.create_workflow(
            {"name": "t", "version": "1", "steps": {"a": {"capability": "c"}}}
        )
        return [await ops.start(name) for name in ("v", "v", "t")]


@pytest.mark.e2e
def test_a_real_server_keeps_what_is_open_or_young(
    opscore: Command, clean_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young, waiting = asyncio.run(_three())
    connection = apsw.Connection("ops.db")
    moved = f"created_at = created_at - {40 * DAY}, finished_at = finished_at - {40 * DAY}"
    connection.execute(f"update sessions set {moved} where session_id in (?, ?)", (old, waiting))
    connection.close()
    with running("dev", "--port", "0", "--database-url", "sqlite:///ops.db") as (_, url):
        monkeypatch.setenv("OPSCORE_URL", url)
        assert opscore("session", "rm", "--older-than", "30d", "--dry-run").lines == [old]
        assert "1 of 1 sessions" in opscore("session", "rm", "--older-than", "30d").err
        left = {one["sessionId"] for one in opscore("session", "ls", "--json").json}
        assert left == {young, waiting}
        records = opscore("audit", "ls", "--action", "session.deleted", "--json").json
        assert [one["subject"] for one in records] == [old]
