from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from opscore.cli import exits
from opscore.cli.inputs import given, labels, payload, read_json, value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", 3),
        ("three", "three"),
        ("true", True),
        ("null", None),
        ('"3"', "3"),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ("", ""),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("01", "01"),
        ("a=b", "a=b"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_value_is_json_when_it_is_json(text: str, expected: object) -> None:
    assert value(text) == expected


def test_words_are_laid_over_the_document() -> None:
    document = '{"path": ".", "limits": {"depth": 1, "size": 2}}'
    made = payload(["limits.depth=3", "name=a=b", "new.inner.key=x"], document)
    assert made == {
        "path": ".",
        "limits": {"depth": 3, "size": 2},
        "name": "a=b",
        "new": {"inner": {"key": "x"}},
    }


@pytest.mark.parametrize("word", ["path", "=1", "a..b=1", ".a=1"])
def test_a_word_must_be_key_value(word: str) -> None:
    with pytest.raises(exits.Stop) as stop:
        payload([word], None)
    assert stop.value.code == exits.USAGE
    assert repr(word) in stop.value.lines[0]


def test_a_word_cannot_go_inside_a_plain_value() -> None:
    with pytest.raises(exits.Stop, match="not an object"):
        payload(["a=1", "a.b=2"], None)


@pytest.mark.parametrize("document", ["[1]", "3", "null", '"text"'])
def test_the_input_is_an_object(document: str) -> None:
    with pytest.raises(exits.Stop, match="must be a JSON object"):
        payload([], document)


def test_a_document_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa9"}')
    assert payload([], f"@{file}") == {"a": "é"}


def test_a_document_comes_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}')))
    assert payload([], "@-") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [(b'{"a": ', "not JSON"), (b"\xff\xfe", "not UTF-8"), (b"[" * 200_000, "not JSON")],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    with pytest.raises(exits.Stop) as stop:
        read_json(f"@{file}", "--input")
    assert stop.value.code == exits.USAGE
    assert "bad.json" in stop.value.lines[0]
    assert words in stop.value.lines[0]


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(exits.Stop, match="larger than 16 MiB"):
        read_json("@/dev/zero", "--input")


def test_labels() -> None:
    assert labels(["team=a", "team=b", "x=y=z"]) == {"team": "b", "x": "y=z"}
    with pytest.raises(exits.Stop, match="not key=value"):
        labels(["team"])


def test_what_was_not_given_is_left_out_but_zero_was_given() -> None:
    assert given(a=None, b="", c=(), d={}, priority=0, dead=False) == {
        "priority": 0,
        "dead": False,
    }
