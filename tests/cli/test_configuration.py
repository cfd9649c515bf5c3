"""What `opscore doctor` says of settings: every value, where it comes from, and no secret."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opscore.cli import checks, exits
from opscore.cli.configuration import configuration, unknown_variables
from opscore.cli.settings import FILE_KEYS
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def origin(name: str, *words: str) -> tuple[str, str]:
    (found,) = [one for one in configuration(words) if one.name == name]
    return found.value, found.origin


def test_every_setting_is_told() -> None:
    assert {one.name for one in configuration(())} == FILE_KEYS - {"output"}


def test_a_flag_counts_more_than_the_environment_and_that_more_than_files(
    monkeypatch: pytest.MonkeyPatch, clean_settings: Path
) -> None:
    assert origin("port") == ("8700", "default")
    (clean_settings / "opscore.toml").write_text("port = 1\n[profile.p]\nport = 2\n", "utf-8")
    assert origin("port") == ("1", "opscore.toml")
    assert origin("port", "--profile", "p") == ("2", "opscore.toml [profile.p]")
    monkeypatch.setenv("OPSCORE_PROFILE", "p")
    assert origin("port") == ("2", "opscore.toml [profile.p]")
    monkeypatch.setenv("OPSCORE_PORT", "3")
    assert origin("port") == ("3", "OPSCORE_PORT")
    assert origin("port", "doctor", "--port=4") == ("4", "--port")
    assert origin("port", "--", "--port=4") == ("3", "OPSCORE_PORT")


def test_secrets_are_not_told(
    monkeypatch: pytest.MonkeyPatch, server: FakeServer, opscore: Command
) -> None:
    canary = "canary-0123456789"
    monkeypatch.setenv("OPSCORE_API_KEY", canary)
    monkeypatch.setenv("OPSCORE_WEBHOOK_SECRET", canary)
    monkeypatch.setenv("OPSCORE_AUDIT_CHECKPOINT", f"https://a.example/hook?token={canary}")
    monkeypatch.setenv("OPSCORE_DATABASE_URL", f"postgresql://ada:{canary}@db.example/ops")
    for form in ("table", "json", "jsonl"):
        ran = opscore("doctor", "-o", form)
        assert canary not in ran.out + ran.err
        assert "set, 17 characters" in ran.out
        assert "https://a.example/hook (the rest is not shown)" in ran.out
    assert server.seen


def test_json_has_the_origin(opscore: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCORE_HOST", "127.0.0.2")
    (host,) = [one for one in opscore("doctor", "--json").json if one["check"] == "host"]
    assert (host["found"], host["origin"]) == ("127.0.0.2", "OPSCORE_HOST")


def test_a_misspelt_variable_is_found(monkeypatch: pytest.MonkeyPatch, opscore: Command) -> None:
    monkeypatch.setenv("OPSCORE_DATABASE", "x")
    assert "OPSCORE_DATABASE" in unknown_variables()
    ran = opscore("doctor")
    assert "warn  configuration    OPSCORE_DATABASE is not a setting" in ran.out
    assert "unset OPSCORE_DATABASE" in ran.out


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        assert checks.port("127.0.0.1", str(number), None).level == "warn"
        assert checks.port("127.0.0.1", str(number), number).level == "ok", "it is our server"
    assert checks.port("127.0.0.1", str(number), None).level == "ok"
    assert checks.port("127.0.0.1", "many", None).level == "fail"


def test_versions_and_clocks_that_differ_are_told(
    server: FakeServer, opscore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("GET /openapi.json", {"info": {"version": "9.9"}})
    server.on("GET /agent", samples.agents())
    server.on("GET /health", {}, Date="Thu, 01 Jan 2026 00:00:00 GMT")
    server.on("GET /ready", {"ready": True})
    ran = opscore("doctor", "--json")
    levels = {one["check"]: one["level"] for one in ran.json}
    assert (levels["versions"], levels["server time"]) == ("warn", "warn")
    assert ran.code == exits.OK
    assert checks.versions("1", "1").level == "ok"
    assert checks.skew(NOW, NOW + timedelta(seconds=2)).level == "ok"


def test_the_file_of_the_log_store_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    assert "not there yet" in checks.log_file(path).found
    (tmp_path / "ops-logs.db").write_bytes(b"x" * 2048)
    assert "2 KiB" in checks.log_file(path).found
