"""Flag, then environment, then profile, then file, then default."""

from __future__ import annotations

from pathlib import Path

import pytest

from opscore.cli import exits
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer

FILE = """
url = "{file}"
namespace = "from-file"
output = "json"

[profile.other]
url = "{profile}"
api-key = "key-of-the-profile"
"""


@pytest.fixture
def nowhere(clean_settings: Path) -> Path:
    """An opscore.toml whose servers do not exist, each with a port of its own to tell by."""
    text = FILE.format(file="http://127.0.0.1:2", profile="http://127.0.0.1:3")
    path = clean_settings / "opscore.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_default(opscore: Command) -> None:
    assert "--url URL" in opscore("agent", "ls", "--help").out
    assert "http://127.0.0.1:8700" in opscore("agent", "ls", "--help").out


@pytest.mark.usefixtures("nowhere")
def test_each_layer_goes_before_the_next(opscore: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "http://127.0.0.1:2" in opscore("agent", "ls").err
    assert "http://127.0.0.1:3" in opscore("agent", "ls", "--profile", "other").err
    monkeypatch.setenv("OPSCORE_PROFILE", "other")
    assert "http://127.0.0.1:3" in opscore("agent", "ls").err
    monkeypatch.setenv("OPSCORE_URL", "http://127.0.0.1:4")
    assert "http://127.0.0.1:4" in opscore("agent", "ls").err
    assert "http://127.0.0.1:5" in opscore("agent", "ls", "--url", "http://127.0.0.1:5").err


@pytest.mark.usefixtures("nowhere")
def test_what_a_profile_leaves_open_comes_from_the_file(
    server: FakeServer, opscore: Command
) -> None:
    server.on("GET /agent", samples.agents(samples.agent()))
    ran = opscore("agent", "ls", "--profile", "other")
    assert ran.json[0]["agentName"] == "summarizer"
    assert server.last.headers["Authorization"] == "Bearer key-of-the-profile"
    assert server.last.headers["X-OpsCore-Namespace"] == "from-file"


def test_the_key_and_the_namespace_come_from_the_environment(
    server: FakeServer, opscore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSCORE_API_KEY", "secret")
    monkeypatch.setenv("OPSCORE_NAMESPACE", "team")
    server.on("GET /agent", samples.agents())
    opscore("agent", "ls")
    assert server.last.headers["Authorization"] == "Bearer secret"
    assert server.last.headers["X-OpsCore-Namespace"] == "team"
    assert "secret" not in opscore("agent", "ls", "--help").out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ulr = 'x'", "unknown setting 'ulr'"),
        ("[profile.a]\nport_ = 1", "unknown setting 'port_'"),
        ("url = ", "opscore.toml: "),
        ("url = ['a', 'b']", "url"),
    ],
)
def test_a_mistake_in_the_file_is_told(
    opscore: Command, clean_settings: Path, text: str, words: str
) -> None:
    (clean_settings / "opscore.toml").write_text(text, encoding="utf-8")
    ran = opscore("agent", "ls", *(["--profile", "a"] if "profile" in text else []))
    assert ran.code == exits.USAGE
    assert words in ran.err


def test_an_unknown_profile_is_told(opscore: Command, nowhere: Path) -> None:
    ran = opscore("agent", "ls", "--profile", "nope")
    assert ran.code == exits.USAGE
    assert "no profile 'nope'" in ran.err
    assert "other" in ran.err
    nowhere.unlink()
    assert opscore("agent", "ls", "--profile", "nope").code == exits.USAGE


def test_the_file_never_fills_an_argument(opscore: Command, clean_settings: Path) -> None:
    (clean_settings / "opscore.toml").write_text('namespace = "x"\n', encoding="utf-8")
    assert "AGENT" in opscore("agent", "show").err
    (clean_settings / "opscore.toml").write_text('agent = "x"\n', encoding="utf-8")
    assert "unknown setting 'agent'" in opscore("agent", "show").err


def test_settings_of_a_server_do_not_disturb_a_client(
    server: FakeServer, opscore: Command, clean_settings: Path
) -> None:
    (clean_settings / "opscore.toml").write_text("port = 9\nhost = 'x'\n", encoding="utf-8")
    server.on("GET /agent", samples.agents())
    assert opscore("agent", "ls").code == exits.OK
