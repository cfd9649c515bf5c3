"""The server's own log in a file that does not grow for ever."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from opscore.telemetry.logs import LogFile, configure


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in kept:
            handler.close()
    root.handlers[:] = kept
    root.setLevel(level)
    structlog.reset_defaults()


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_file_gets_what_stderr_gets_as_json_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ops.log"
    configure("info", "console", LogFile(path))
    structlog.get_logger("opscore.test").info("said", namespace="default", token="hunter2")
    logging.getLogger("library").warning("of a library: %s", "\x1b[2J")
    structlog.get_logger("opscore.test").debug("not said")
    first, second = lines(path)
    assert (first["event"], first["level"], first["namespace"]) == ("said", "info", "default")
    assert first["token"] == "***"
    assert second["event"] == "of a library: \x1b[2J"
    assert "\x1b" not in path.read_text("utf-8")
    assert "said" in capsys.readouterr().err


def test_it_is_rotated_by_size_and_the_oldest_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "ops.log"
    configure("info", "json", LogFile(path, most_bytes=2_000, files=2))
    for number in range(100):
        structlog.get_logger("opscore.test").info("said", number=number)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["ops.log", "ops.log.1", "ops.log.2"]
    assert all(one.stat().st_size <= 2_000 for one in tmp_path.iterdir())
    assert lines(path)[-1]["number"] == 99
    kept = [
        line["number"]
        for name in ("ops.log.2", "ops.log.1", "ops.log")
        for line in lines(tmp_path / name)
    ]
    assert kept == list(range(100 - len(kept), 100))


def test_a_file_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        configure("info", "json", LogFile(tmp_path / "nowhere" / "ops.log"))


def test_a_full_disk_is_told_once_and_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("info", "json", LogFile(tmp_path / "ops.log"))
    rotating = logging.getLogger().handlers[1]

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logging.StreamHandler, "flush", full)
    for _ in range(3):
        rotating.emit(logging.makeLogRecord({"msg": "x"}))
    monkeypatch.undo()
    assert capsys.readouterr().err.count("cannot be written") == 1
