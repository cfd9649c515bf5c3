from __future__ import annotations

import io
import json
import sys

import pytest

from opscore.cli.output import complain, encode, plain, print_list, print_one, table

EVIL = "a\x1b[2Jb\x07c\x9bd\u202ee\nf\rg\u200bh\x00i\u2028j"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x200F, 0xFEFF])
def test_no_control_character_passes(code: int) -> None:
    assert chr(code) not in plain(f"x{chr(code)}y")
    assert chr(code) not in encode({"x": chr(code)})


def test_escapes_are_shown() -> None:
    assert plain("a\x1b[2J\nb\u202e") == "a\\x1b[2J\\nb\\u202e"
    assert plain("Grüße, 世界 ✓") == "Grüße, 世界 ✓"


def test_json_stays_the_same_document() -> None:
    document = {"text": EVIL, "words": ["é", "世"], "n": 1.5}
    for indent in (None, 2):
        assert json.loads(encode(document, indent=indent)) == document


def test_words_on_stderr_are_neutralised(capsys: pytest.CaptureFixture[str]) -> None:
    complain(f"error: {EVIL}")
    out, err = capsys.readouterr()
    assert out == ""
    assert not set("\x1b\x07\x9b\u202e\r\u200b\x00\u2028") & set(err)


def test_a_table_is_aligned_and_neutralised() -> None:
    rows = [{"a": EVIL, "b": None}, {"a": "世界", "b": True}, {"a": ["x"], "b": 0}]
    lines = table(rows, [("A", "a"), ("B", lambda row: row["b"])])
    assert len(lines) == 4
    assert not any(set("\x1b\x07\x9b\u202e\n") & set(line) for line in lines)
    assert lines[2].startswith("世界 ")
    assert lines[2].endswith(" yes")
    assert lines[3].startswith('["x"]')
    # 世界 takes four columns, so its line is two characters shorter up to the second column.
    assert lines[2].index("yes") + 2 == lines[0].index("B")


def test_a_terminal_gets_colours_and_is_not_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    rows = [{"a": "x" * 50, "s": "failed"}, {"a": "y", "s": "failed"}]
    lines = table(rows, [("S", "s"), ("A", "a")])
    assert len(lines[1]) == 30
    assert lines[1].endswith("…")
    assert lines[2].startswith("\x1b[31mfailed")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in "".join(table(rows, [("S", "s"), ("A", "a")]))


def test_the_three_forms_of_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"a": 1, "b": [2]}, {"a": 3}]
    print_list(rows, [("A", "a")], "json")
    assert json.loads(capsys.readouterr().out) == rows
    print_list(rows, [("A", "a")], "jsonl")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    print_list(rows, [("A", "a")], "table")
    assert capsys.readouterr().out.split() == ["A", "1", "3"]


def test_an_empty_list_has_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    print_list([], [("A", "a")], "table")
    assert capsys.readouterr() == ("", "(none)\n")
    print_list([], [("A", "a")], "json")
    assert capsys.readouterr().out == "[]\n"
    print_list([], [("A", "a")], "jsonl")
    assert capsys.readouterr().out == ""


def test_the_three_forms_of_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    print_one({"a": 1}, lambda one: [f"a is {one['a']}"], "table")
    assert capsys.readouterr().out == "a is 1\n"
    print_one({"a": 1}, lambda _: [], "json")
    assert capsys.readouterr().out == '{\n  "a": 1\n}\n'
    print_one({"a": 1}, lambda _: [], "jsonl")
    assert capsys.readouterr().out == '{"a":1}\n'


def test_a_terminal_without_unicode_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    complain("世界 goes on")
    assert raw.getvalue() == b"\\u4e16\\u754c goes on\n"
