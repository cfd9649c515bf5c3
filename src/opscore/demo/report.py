"""Rank measured files and write the code-health report in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from opscore.demo.measure import TOLERABLE, WORST, Function, Measures
from opscore.demo.scan import Skipped

WORST_FILES = 20


class WorstFunction(NamedTuple):
    """A function as the ranking names it."""

    name: str
    line: int
    lines: int
    complexity: int


class FileResult(NamedTuple):
    """What became of one file; an array in JSON, for all results together are one task's input.

    `longest` is a name and a number of lines; `worst` goes by falling complexity. `reason` says why
    a file was not measured: then only its lines are known.
    """

    file: str
    lines: int
    functions: int = 0
    complexity: int = 0
    longest: tuple[str, int] | None = None
    worst: tuple[WorstFunction, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a tree; `lines` covers all files, the other sums only those that were measured."""

    files: int
    measured: int
    lines: int
    functions: int
    complexity: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """The totals, the worst files by complexity, and the worst functions with their files."""

    totals: Totals
    files: list[FileResult]
    functions: list[tuple[str, WorstFunction]]


def measured(file: str, measures: Measures) -> FileResult:
    """Make the result of a file that parses."""
    longest = measures.longest
    return FileResult(
        file,
        measures.lines,
        measures.functions,
        measures.complexity,
        (longest.name, longest.lines) if longest else None,
        tuple(_named(function) for function in measures.worst),
    )


def rank(results: Sequence[FileResult]) -> Ranking:
    """Rank results in any order; ties go by file name, then by line.

    The worst functions are those above TOLERABLE, five at most; when no function is that complex,
    the single worst one.
    """
    good = [result for result in results if result.reason is None]
    totals = Totals(
        files=len(results),
        measured=len(good),
        lines=sum(result.lines for result in results),
        functions=sum(result.functions for result in good),
        complexity=sum(result.complexity for result in good),
    )
    files = sorted(good, key=lambda result: (-result.complexity, result.file))
    return Ranking(totals, files[:WORST_FILES], _worst_functions(good))


def write_markdown(
    root: str, results: Sequence[FileResult], ranking: Ranking, skipped: Sequence[Skipped] = ()
) -> str:
    """Return the whole report: totals, the worst parts, what did not parse, and every file once."""
    sections = [
        f"# Code health of {escape(root)}\n",
        _totals(ranking.totals),
        _functions_section(ranking),
        _files_section(ranking),
        _unparsed_section(results),
        _skipped_section(skipped),
        _every_file(results),
    ]
    return "\n".join(section for section in sections if section)


def escape(text: str) -> str:
    r"""Write any text so that Markdown shows it as it is, in a table cell as well.

    Control characters and line separators become visible (`\x0a`), and blanks at the ends are
    kept. Rules: CommonMark 0.31 section 2.4, and GitHub's tables and strikethrough.
    """
    shown = "".join(_visible(character) for character in text)
    body = shown.strip(" ")
    head = len(shown) - len(shown.lstrip(" "))
    tail = len(shown) - head - len(body)
    return _BLANK * head + body.translate(_ESCAPES) + _BLANK * tail


_BLANK = "&#32;"
_ESCAPES = {ord(mark): f"\\{mark}" for mark in "\\`*_{}[]<>|#~&$!"}


def _visible(character: str) -> str:
    """Keep what `str.isprintable` admits; the rest may vanish, or turn the text beside it."""
    return character if character.isprintable() else ascii(character)[1:-1]


def _named(function: Function) -> WorstFunction:
    return WorstFunction(function.name, function.line, function.lines, function.complexity)


def _worst_functions(results: Iterable[FileResult]) -> list[tuple[str, WorstFunction]]:
    every = [(result.file, function) for result in results for function in result.worst]
    every.sort(key=lambda found: (-found[1].complexity, found[0], found[1].line))
    above = [found for found in every if found[1].complexity > TOLERABLE]
    return above[:WORST] or every[:1]


def _totals(totals: Totals) -> str:
    mean = f"{totals.complexity / totals.functions:.2f}" if totals.functions else "-"
    rows = [
        ("Files", _number(totals.files)),
        ("Files measured", _number(totals.measured)),
        ("Files not measured", _number(totals.files - totals.measured)),
        ("Lines", _number(totals.lines)),
        ("Functions", _number(totals.functions)),
        ("Cyclomatic complexity, all functions", _number(totals.complexity)),
        ("Mean complexity of a function", mean),
    ]
    return _table([("Total", "<"), ("", ">")], rows)


def _functions_section(ranking: Ranking) -> str:
    columns = [("Function", "<"), ("Where", "<"), ("Complexity", ">"), ("Lines", ">")]
    rows = [
        (
            escape(function.name),
            f"{escape(file)}:{function.line}",
            _number(function.complexity),
            _number(function.lines),
        )
        for file, function in ranking.functions
    ]
    return _section("Worst functions", "By cyclomatic complexity.", _table(columns, rows))


def _files_section(ranking: Ranking) -> str:
    columns = [
        ("File", "<"),
        ("Lines", ">"),
        ("Functions", ">"),
        ("Complexity", ">"),
        ("Longest function", "<"),
        ("Worst function", "<"),
    ]
    rows = [(*_figures(result), _longest(result), _worst(result)) for result in ranking.files]
    text = "By the complexity of all their functions together."
    return _section("Worst files", text, _table(columns, rows))


def _unparsed_section(results: Sequence[FileResult]) -> str:
    columns = [("File", "<"), ("Lines", ">"), ("Why", "<")]
    bad = sorted(result for result in results if result.reason is not None)
    if not bad:
        return "## Files not measured\n\nNone.\n"
    rows = [(escape(one.file), _number(one.lines), escape(one.reason or "")) for one in bad]
    text = "They do not parse, or cannot be read: of them, the totals have only the lines."
    return _section("Files not measured", text, _table(columns, rows))


def _skipped_section(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return ""
    rows = [(escape(one.path), escape(one.reason)) for one in skipped]
    return _section(
        "Left out", "Met, but not measured.", _table([("Path", "<"), ("Why", "<")], rows)
    )


def _every_file(results: Sequence[FileResult]) -> str:
    columns = [("File", "<"), ("Lines", ">"), ("Functions", ">"), ("Complexity", ">")]
    rows = [_figures(result) for result in sorted(results, key=lambda result: result.file)]
    return _section("Every file", "In order of their names.", _table(columns, rows))


def _figures(result: FileResult) -> tuple[str, ...]:
    numbers = (result.lines, result.functions, result.complexity)
    if result.reason is not None:
        return (escape(result.file), _number(result.lines), "-", "-")
    return (escape(result.file), *(_number(number) for number in numbers))


def _longest(result: FileResult) -> str:
    return f"{escape(result.longest[0])} ({_number(result.longest[1])})" if result.longest else "-"


def _worst(result: FileResult) -> str:
    if not result.worst:
        return "-"
    function = result.worst[0]
    return f"{escape(function.name)} ({_number(function.complexity)})"


def _section(title: str, text: str, table: str) -> str:
    return f"## {title}\n\n{text}\n\n{table}"


def _table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """Write a table from columns (title, and `<` or `>` for left or right) and finished cells."""
    heads = [title for title, _ in columns]
    rules = ["---" if side == "<" else "---:" for _, side in columns]
    lines = (f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))
    return "".join(line + "\n" for line in lines)


def _number(value: int) -> str:
    return f"{value:,}"
