"""The ranking, and a report that Markdown readers understand as it was meant."""

from __future__ import annotations

import html
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from opscore.demo.measure import measure_source
from opscore.demo.report import (
    FileResult,
    Ranking,
    WorstFunction,
    escape,
    measured,
    rank,
    write_markdown,
)
from opscore.demo.scan import Skipped

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MARKS = st.text(st.sampled_from("\\`*_{}[]<>()|#~&;$!+-.:@/ ax1\t\n\r\0\u2028\u202e\u3000é日😀"))


def _cells(markdown: str) -> list[list[str]]:
    """Return the table rows of a document as text, by way of the HTML it becomes."""
    rows = MARKDOWN.render(markdown).split("<tr>")[1:]
    cells = [row.split("</tr>")[0].strip().split("\n") for row in rows]
    return [
        [html.unescape(cell.split(">", 1)[1].rsplit("<", 1)[0]) for cell in row] for row in cells
    ]


@given(st.text() | MARKS)
def test_escaped_text_is_read_as_written(text: str) -> None:
    seen = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    assert _cells(f"| a | b |\n|---|---|\n| {escape(text)} | end |\n")[1] == [seen, "end"]


def test_what_cannot_be_seen_is_made_visible() -> None:
    assert escape("a\nb\x00\u202ec") == "a\\\\nb\\\\x00\\\\u202ec"
    assert escape(" a  b ") == "&#32;a  b&#32;"
    assert escape("__init__|x") == "\\_\\_init\\_\\_\\|x"


def _result(file: str, *complexities: int) -> FileResult:
    worst = tuple(WorstFunction(f"f{n}", n, 2 * n, c) for n, c in enumerate(complexities, 1))
    return FileResult(file, 10, len(worst), sum(complexities), ("f1", 2) if worst else None, worst)


def test_totals_count_lines_of_all_files_and_the_rest_of_measured_ones() -> None:
    totals = rank([_result("a.py", 20, 12), FileResult("b.py", 7, reason="bad")]).totals
    assert (totals.files, totals.measured, totals.lines) == (2, 1, 17)
    assert (totals.functions, totals.complexity) == (2, 32)


def test_the_worst_come_first_whatever_the_order_of_the_results() -> None:
    results = [_result(f"f{n:02}.py", 11 + n % 7, 11) for n in range(40)]
    ranking = rank(results)
    random.Random(7).shuffle(results)
    assert rank(results) == ranking
    assert [one.file for one in ranking.files[:3]] == ["f06.py", "f13.py", "f20.py"]
    assert len(ranking.files) == 20
    worst = [(file, function.complexity) for file, function in ranking.functions]
    assert worst == [(f"f{n:02}.py", 17) for n in (6, 13, 20, 27, 34)]


def test_several_of_the_worst_may_stand_in_one_file() -> None:
    ranking = rank([_result("a.py", 40, 30, 20), _result("b.py", 25)])
    assert [function.complexity for _, function in ranking.functions] == [40, 30, 25, 20]


def test_without_a_complex_function_the_single_worst_is_named() -> None:
    ranking = rank([_result("a.py", 3), _result("b.py", 9), _result("c.py")])
    assert [(file, one.complexity) for file, one in ranking.functions] == [("b.py", 9)]


def test_an_empty_tree_has_a_report() -> None:
    text = write_markdown("/empty", [], rank([]))
    assert ["Files", "0"] in _cells(text)
    assert ["Mean complexity of a function", "-"] in _cells(text)


def test_results_and_ranking_travel_as_json() -> None:
    results = [measured("a.py", measure_source("def f(): return 1 if 2 else 3")), _result("b.py")]
    results.append(FileResult("c.py", 3, reason="line 1: invalid syntax"))
    raw = msgspec.json.encode(results)
    assert raw.startswith(b'[["a.py",1,1,2,["f",1],[["f",1,1,2]],null],')
    assert msgspec.json.decode(raw, type=list[FileResult]) == results
    ranking = rank(results)
    assert msgspec.json.decode(msgspec.json.encode(ranking), type=Ranking) == ranking


def test_the_report_shows_every_file_once_and_the_rest_by_section() -> None:
    results = [
        _result("pkg/big|one.py", 1200, 12),
        _result("pkg/__init__.py"),
        FileResult("bad.py", 1234, reason="line 3: bad `thing`"),
    ]
    skipped = [Skipped("link.py", "symbolic link")]
    text = write_markdown("/src/my_tree", results, rank(results), skipped)
    assert text.startswith("# Code health of /src/my\\_tree\n")
    sections = dict(section.split("\n", 1) for section in text.split("## ")[1:])
    assert list(sections) == [
        "Worst functions",
        "Worst files",
        "Files not measured",
        "Left out",
        "Every file",
    ]
    assert _cells(sections["Worst functions"])[1:] == [
        ["f1", "pkg/big|one.py:1", "1,200", "2"],
        ["f2", "pkg/big|one.py:2", "12", "4"],
    ]
    assert _cells(sections["Worst files"])[1:] == [
        ["pkg/big|one.py", "10", "2", "1,212", "f1 (2)", "f1 (1,200)"],
        ["pkg/__init__.py", "10", "0", "0", "-", "-"],
    ]
    assert _cells(sections["Files not measured"])[1:] == [
        ["bad.py", "1,234", "line 3: bad `thing`"]
    ]
    assert _cells(sections["Left out"])[1:] == [["link.py", "symbolic link"]]
    assert _cells(sections["Every file"])[1:] == [
        ["bad.py", "1,234", "-", "-"],
        ["pkg/__init__.py", "10", "0", "0"],
        ["pkg/big|one.py", "10", "2", "1,212"],
    ]
