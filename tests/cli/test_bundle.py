"""`opscore debug bundle` and `open`: whole, without secrets, readable elsewhere."""

from __future__ import annotations

import json
import stat
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from opscore.cli import bundle, exits
from opscore.cli.redaction import is_secret, without_secrets
from opscore.wire.log import LogPage
from opscore.wire.task import TaskPage
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer
from tests.cli.test_hostile import ALL, harmless
from tests.cli.test_screens import record
from tests.hostile import poisoned

CANARY = "canary-7f3a9b"
ROUTES: dict[str, Any] = {
    "GET /session/ses_1": samples.session(
        "error", steps={"greet": samples.step("failed", 1, failed=1)}
    ),
    "GET /workflow/greet/1": {"name": "greet", "definition": {"steps": {"greet": {}}}},
    "GET /session/ses_1/history": samples.history(1, 3),
    "GET /task": TaskPage(tasks=[samples.task()]),
    "GET /task/tsk_1-1": samples.task(),
    "GET /session/ses_1/trace": samples.trace(),
    "GET /session/ses_1/why": samples.why(reasons=[]),
    "GET /log": LogPage(records=[record(1)]),
    "GET /agent": samples.agents(samples.agent(), samples.agent("other", "agt_9")),
}


@pytest.fixture
def whole(server: FakeServer) -> FakeServer:
    for route, answer in ROUTES.items():
        server.on(route, answer)
    return server


def test_a_bundle_holds_everything_and_opens_without_a_server(
    whole: FakeServer, opscore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = opscore("debug", "bundle", "ses_1")
    assert (ran.code, ran.out) == (exits.OK, "opscore-ses_1.zip\n"), ran.err
    assert "opscore debug open opscore-ses_1.zip" in ran.err
    asked = len(whole.seen)
    monkeypatch.setenv("OPSCORE_URL", "http://127.0.0.1:1")
    shown = opscore("debug", "open", "opscore-ses_1.zip")
    assert shown.code == exits.OK, shown.err
    for words in ("fatal: no such name", "agent_lost", "critical path", "bottleneck", "12:00:00"):
        assert words in shown.out
    assert "3 in history, 1 in tasks, 1 in logs" in shown.out
    parts = opscore("debug", "open", "opscore-ses_1.zip", "--json").json
    assert set(parts) == {"manifest", *bundle.PARTS}
    assert parts["manifest"]["version"] == 1 and parts["manifest"]["missing"] == {}
    assert parts["trace"] == samples.as_json(samples.trace())
    assert [one["agentId"] for one in parts["agents"]] == ["agt_1"]
    assert len(whole.seen) == asked


def test_what_cannot_be_read_is_named(whole: FakeServer, opscore: Command) -> None:
    whole.refuse("GET /log", 503, "the log store is damaged")
    ran = opscore("debug", "bundle", "ses_1", "-f", "b.zip", "--json")
    assert ran.json["manifest"]["missing"] == {"logs": "the log store is damaged"}
    assert "without logs: the log store is damaged" in ran.err
    assert "logs (the log store is damaged)" in opscore("debug", "open", "b.zip").out
    assert opscore("debug", "bundle", "ses_9").code == exits.NOT_FOUND


def test_no_secret_is_in_a_bundle(
    whole: FakeServer, opscore: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same canary under a name, in a text, in JSON in a text, in a URL; and our own key."""
    key = "the-operators-own-key-0123456789abcdef"
    monkeypatch.setenv("OPSCORE_API_KEY", key)
    text = {
        "apiKey": CANARY,
        "nested": [{"DB_PASSWORD": CANARY}, {"credentials": {"user": "ada", "is": CANARY}}],
        "says": f"refused {CANARY} and {key}",
        CANARY: f"https://ada:{CANARY}@db.example/x",
        "quoted": json.dumps({"token": CANARY, "inputTokens": 7}),
        "cut": f'{{"authorization": "{CANARY}',
        "header": "Authorization: Bearer abc.def-0123456789",
        "ours": "opc_0123456789_abcdefghijkl",
        "inputTokens": 42,
    }
    for route, answer in ROUTES.items():
        document = samples.as_json(answer)
        for place in document if "steps" not in document else ("input", "output"):
            if isinstance(document[place], dict):
                document[place] = {**document[place], "x": text}
            elif isinstance(document[place], list):
                document[place] = [
                    {**one, "x": text} if isinstance(one, dict) else one for one in document[place]
                ]
        whole.on(route, document)
    assert opscore("debug", "bundle", "ses_1", "-f", "b.zip").code == exits.OK
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        everything = "".join(archive.read(name).decode() for name in archive.namelist())
    for secret in (CANARY, key, "abc.def-0123456789", "opc_0123456789"):
        assert secret not in everything
    assert everything.count('"inputTokens": 42') > 3, "a count of tokens is no token"
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "b.zip").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((one, True) for one in ("password", "DB_PASSWORD", "apiKey", "X-Api-Key", "authToken")),
        *((one, True) for one in ("clientSecret", "Authorization", "set-cookie", "key")),
        *((one, False) for one in ("inputTokens", "monkey", "keyId", "secretary", "title", "")),
    ],
)
def test_names_that_hold_secrets(name: str, secret: bool) -> None:
    assert is_secret(name) == secret


def test_short_values_are_struck_under_their_name_only() -> None:
    assert without_secrets({"password": "abc", "text": "abcdef"}) == {
        "password": "***",
        "text": "abcdef",
    }


def test_a_file_is_not_written_over(whole: FakeServer, opscore: Command, tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_text("mine", "utf-8")
    assert opscore("debug", "bundle", "ses_1", "-f", "b.zip").code == exits.USAGE
    assert (tmp_path / "b.zip").read_text("utf-8") == "mine"
    assert opscore("debug", "bundle", "ses_1", "-f", "no/where/b.zip").code == exits.ERROR
    assert whole.seen


def archive(path: Path, **documents: object) -> str:
    with zipfile.ZipFile(path, "w") as made:
        for name, document in documents.items():
            made.writestr(f"{name}.json", json.dumps(document))
    return str(path)


def test_what_is_no_bundle_is_told(opscore: Command, tmp_path: Path) -> None:
    good = {"format": bundle.FORMAT, "version": 1}
    (tmp_path / "text").write_text("hello", "utf-8")
    for file, words in {
        "nothing": "No such file",
        str(tmp_path): "directory",
        "text": "no debug bundle",
        archive(tmp_path / "a", other=1): "no debug bundle",
        archive(tmp_path / "b", manifest=[]): "no debug bundle",
        archive(tmp_path / "c", manifest={"format": "x", "version": 1}): "no debug bundle",
        archive(tmp_path / "d", manifest={**good, "version": 2}): "version 2",
        archive(tmp_path / "e", manifest=good): "holds no session",
        archive(tmp_path / "f", manifest=good, session={"steps": 7}): "damaged",
    }.items():
        ran = opscore("debug", "open", file)
        assert (ran.code, words in ran.err) == (exits.ERROR, True), (file, ran.err)
    assert "upgrade ops-core" in opscore("debug", "open", str(tmp_path / "d")).err


def test_a_damaged_bundle_is_told(whole: FakeServer, opscore: Command, tmp_path: Path) -> None:
    opscore("debug", "bundle", "ses_1", "-f", "b.zip")
    assert whole.seen
    data = (tmp_path / "b.zip").read_bytes()
    for place in range(0, len(data), max(len(data) // 60, 1)):
        for broken in (data[:place], data[:place] + b"\xff\x00\xff" + data[place + 3 :]):
            (tmp_path / "x.zip").write_bytes(broken)
            ran = opscore("debug", "open", "x.zip")
            assert ran.code in {exits.OK, exits.ERROR}
            assert ran.code == exits.OK or "x.zip" in ran.err


def test_a_document_that_would_fill_the_memory_is_refused(
    opscore: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "LARGEST", 64)
    manifest = {"format": bundle.FORMAT, "version": 1}
    ran = opscore("debug", "open", archive(tmp_path / "b", manifest=manifest, session="x" * 99))
    assert ran.code == exits.ERROR and "damaged" in ran.err


def test_nothing_in_a_bundle_is_obeyed(opscore: Command, tmp_path: Path) -> None:
    manifest: dict[str, Any] = {"format": bundle.FORMAT, "version": 1, "missing": {}}
    manifest |= {"madeAt": ALL, "madeBy": ALL}
    parts = {
        "session": samples.as_json(ROUTES["GET /session/ses_1"]),
        "failed": [samples.as_json(samples.task())],
        "trace": samples.as_json(samples.trace()),
        "why": samples.as_json(samples.why()),
        "logs": [samples.as_json(record(1))],
    }
    poison = {name: poisoned(part, ALL) for name, part in parts.items()}
    ran = opscore("debug", "open", archive(tmp_path / "b", manifest=manifest, **poison))
    harmless(ran.out, ran.err)
    assert "drop table" in ran.out + ran.err
