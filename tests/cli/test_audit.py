"""`opscore audit …`: a list from a server, and the verification of a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw

from opscore.cli import exits
from opscore.core.types import Actor
from opscore.engine.engine import Engine
from opscore.engine.settings import Settings
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer

RECORD = {
    "writer": "wrt_1",
    "seq": 3,
    "at": "2026-01-01T00:00:00Z",
    "namespace": "default",
    "actor": "operator:key_1",
    "keyId": "key_1",
    "action": "session.cancelled",
    "subject": "ses_1",
    "details": {"reason": "\x1b[2Jgone"},
    "hash": "00",
}


def test_a_list_is_filtered_and_drives_no_terminal(server: FakeServer, opscore: Command) -> None:
    server.on("GET /audit", {"records": [RECORD], "nextCursor": None})
    ran = opscore("audit", "ls", "--key", "key_1", "--action", "session.cancelled")
    assert ran.code == exits.OK and "operator:key_1" in ran.out and "wrt_1:3" in ran.out
    assert "\x1b" not in ran.out
    assert server.last.query == {"key": "key_1", "action": "session.cancelled", "limit": "50"}
    assert opscore("audit", "ls", "--json").json == [RECORD]


async def _some(path: Path, checkpoint: Path) -> None:
    settings = Settings(audit_checkpoint=str(checkpoint))
    async with await Engine.open(f"sqlite:///{path}", settings=settings) as engine:
        for name in ("one", "two", "three"):
            await engine.keys.create(name, ["admin"], actor=Actor("operator", "ann"))


def change(path: Path, statement: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()


def test_verify_says_what_was_changed_and_where(tmp_path: Path, opscore: Command) -> None:
    path, checkpoint = tmp_path / "ops.db", tmp_path / "kept.json"
    asyncio.run(_some(path, checkpoint))
    words = ("audit", "verify", "--checkpoint", str(checkpoint))
    ran = opscore(*words)
    assert ran.code == exits.OK
    assert ran.lines == ["ok    3 records in 1 chains, every one as it was written"]
    assert "without a checkpoint" in opscore("audit", "verify").out
    change(path, "delete from audit where seq = 3")
    assert opscore("audit", "verify").code == exits.OK
    ran = opscore(*words)
    assert ran.code == exits.ERROR and "missing: record 3 of wrt_" in ran.out
    change(path, "update audit set actor = 'operator:bob' where seq = 2")
    ran = opscore("audit", "verify", "-o", "json")
    assert ran.code == exits.ERROR
    assert (ran.json["whole"], ran.json["records"]) == (False, 2)
    (found,) = ran.json["findings"]
    assert (found["kind"], found["seq"]) == ("changed", 2)


def test_verify_says_what_it_cannot_read(tmp_path: Path, opscore: Command) -> None:
    ran = opscore("audit", "verify")
    assert ran.code == exits.ERROR and "there is no database" in ran.err
    (tmp_path / "ops.db").write_text("no database")
    ran = opscore("audit", "verify")
    assert ran.code == exits.ERROR and "unreadable" in ran.out
    asyncio.run(_some(tmp_path / "real.db", tmp_path / "kept.json"))
    url = ("--database-url", f"sqlite:///{tmp_path / 'real.db'}")
    for name, told in (("nothing.json", "No such file"), ("ops.db", "")):
        ran = opscore("audit", "verify", *url, "--checkpoint", str(tmp_path / name))
        assert ran.code == exits.ERROR and told in ran.err
    ran = opscore("audit", "verify", *url, "--checkpoint", "https://a.example/kept")
    assert ran.code == exits.ERROR and "fetch it first" in ran.err


def test_doctor_tells_of_checkpoints(server: FakeServer, opscore: Command) -> None:
    server.on("GET /openapi.json", {"info": {"version": "9"}})
    server.on("GET /agent", {"agents": [], "nextCursor": None})
    told = {"checkpointAt": "2026-01-01T00:00:00Z", "problem": None}
    for problem, level in ((None, "ok"), ("the disk is full", "warn")):
        server.on("GET /ready", {"ready": True, "audit": {**told, "problem": problem}})
        (found,) = [one for one in opscore("doctor", "--json").json if one["check"] == "audit"]
        assert found["level"] == level and "2026-01-01" in found["found"]
        assert problem is None or problem in found["found"]
