"""The terminal session of the README shows what the commands show."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from tools import recording

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a pseudo-terminal of Linux"),
]


def test_the_recording_has_the_structure_of_a_new_one(tmp_path: Path) -> None:
    """Times, ids and counts differ from run to run; commands, sections and fields do not."""
    again = recording.plain(recording.recorded(tmp_path))
    kept = recording.TEXT.read_text(encoding="utf-8")
    assert recording.structure(again) == recording.structure(kept), "run `make recording`"
    for words in (*recording.BROKEN, "does not parse", "no sign of life from instance measurer-"):
        assert words in kept


def test_the_picture_shows_the_text() -> None:
    picture = recording.PICTURE.read_text(encoding="utf-8")
    shown = html.unescape("".join(re.findall(r"<text[^>]*>([^<]*)</text>", picture)))
    words = recording.TEXT.read_text(encoding="utf-8").split()
    assert [word for word in words if word not in shown.replace("\xa0", " ")] == []
    addresses = re.findall(r"https?://[^\s\"<)]+", picture)
    assert set(addresses) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}


def test_a_stale_recording_is_noticed() -> None:
    kept = recording.TEXT.read_text(encoding="utf-8")
    same = re.sub(r"[\d.]+ (ms|s)\b", "7 min", re.sub(r"_01\w+", "_7", kept))
    assert same != kept
    assert recording.structure(same) == recording.structure(kept)
    for change in (("warnings", "notes"), ("\nnext\n", "\nthen\n"), ("task show", "task look")):
        assert recording.structure(kept.replace(*change)) != recording.structure(kept)
