"""The tidy rules: each takes one source and yields what is wrong with it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import TypeAlias

from tests.tidy.exceptions import CLOCK_AND_CHANCE, QUOTING, SQL, TASKS, excepted
from tests.tidy.source import ROOT, Finding, Source

Rule: TypeAlias = Callable[[Source], Iterator[Finding]]

LONGEST_FUNCTION = 50
LONGEST_FILE = 400

EMPTY_WORDS = frozenset(
    {"manager", "service", "helper", "util", "utils", "handler", "processor"}
    | {"managers", "services", "helpers", "handlers", "processors"}
)

CLOCK = frozenset(
    {"time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter"}
    | {"time.perf_counter_ns", "time.process_time", "time.localtime", "time.gmtime", "time.sleep"}
    | {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"}
    | {"datetime.date.today"}
)
CHANCE = frozenset({"os.urandom", "uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7"})
CHANCE_MODULES = ("random.", "secrets.")

SQL_STATEMENT = re.compile(
    r"\bselect\b.+?\bfrom\s+\w|\binsert\s+(or\s+\w+\s+)?into\s+\w|\bupdate\s+\w+\s+set\s+\w|\bdelete\s+from\s+\w"
    r"|\bcreate\s+(unique\s+)?(table|index|view|trigger)\b|\bpragma\s+\w+|\bbegin\s+immediate\b",
    re.IGNORECASE | re.DOTALL,
)

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def short_files(source: Source) -> Iterator[Finding]:
    lines = source.text.count("\n")
    if lines > LONGEST_FILE:
        yield source.finding(1, f"{lines} lines; a file has at most {LONGEST_FILE}")


def short_functions(source: Source) -> Iterator[Finding]:
    """A docstring does not count: it must never be cut to make room for code."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
            if lines > LONGEST_FUNCTION:
                text = f"{node.name} has {lines} lines; a function has at most {LONGEST_FUNCTION}"
                yield source.finding(node, text)


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1


def telling_names(source: Source) -> Iterator[Finding]:
    """Modules and classes are named after what they do or are."""
    for part in PurePosixPath(source.path).with_suffix("").parts:
        if empty := words_of(part) & EMPTY_WORDS:
            yield source.finding(1, f"{part}: {', '.join(sorted(empty))} says nothing")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and (empty := words_of(node.name) & EMPTY_WORDS):
            yield source.finding(node, f"{node.name}: {', '.join(sorted(empty))} says nothing")


def words_of(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def time_and_chance_enter_once(source: Source) -> Iterator[Finding]:
    """Time comes from the clock, chance from a random.Random that is passed in."""
    if excepted(source.path, CLOCK_AND_CHANCE):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = source.dotted(node)
            if name and (name in CLOCK or name in CHANCE or draws_chance(name)):
                yield source.finding(node, f"{name}: use the clock or the random.Random passed in")
        elif isinstance(node, ast.Call):
            yield from unseen_time_or_chance(source, node)


def draws_chance(name: str) -> bool:
    return name.startswith(CHANCE_MODULES) and name != "random.Random"


def unseen_time_or_chance(source: Source, call: ast.Call) -> Iterator[Finding]:
    name = source.dotted(call.func)
    if name == "random.Random" and not call.args:
        yield source.finding(call, "random.Random() without a seed cannot be replayed")
    if name == "asyncio.sleep" and not is_zero(call.args):
        yield source.finding(call, "asyncio.sleep: wait through the clock")
    if (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "time"
        and is_loop(source, call.func.value)
    ):
        yield source.finding(call, "loop.time(): ask the clock")


def is_zero(arguments: list[ast.expr]) -> bool:
    return (
        len(arguments) == 1 and isinstance(arguments[0], ast.Constant) and arguments[0].value == 0
    )


def is_loop(source: Source, node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").endswith("loop")
        case ast.Call(func=function):
            return (source.dotted(function) or "").startswith("asyncio.get_")
        case _:
            return False


def tasks_have_a_group(source: Source) -> Iterator[Finding]:
    """A task outside a group can be lost to the garbage collector, and its error with it."""
    if excepted(source.path, TASKS):
        return
    for call in source.calls():
        if source.dotted(call.func) in {"asyncio.create_task", "asyncio.ensure_future"} or (
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "create_task"
            and is_loop(source, call.func.value)
        ):
            yield source.finding(call, "a bare task; use asyncio.TaskGroup")


def errors_are_not_swallowed(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield source.finding(
                    node, "a bare except also catches cancellation; name the errors"
                )
            elif is_broad(node.type) and all(does_nothing(each) for each in node.body):
                yield source.finding(node, "every error is swallowed here; name the errors")
        elif isinstance(node, ast.Call) and suppresses_everything(source, node):
            yield source.finding(node, "every error is swallowed here; name the errors")


def suppresses_everything(source: Source, call: ast.Call) -> bool:
    return source.dotted(call.func) == "contextlib.suppress" and any(map(is_broad, call.args))


def is_broad(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return any(is_broad(each) for each in node.elts)
    return isinstance(node, ast.Name) and node.id in {"Exception", "BaseException"}


def does_nothing(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass | ast.Continue) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def nothing_is_unfinished(source: Source) -> Iterator[Finding]:
    if excepted(source.path, QUOTING):
        return
    for number, line in enumerate(source.text.splitlines(), start=1):
        if found := UNFINISHED.search(line):
            yield source.finding(number, f"{found.group()}: finish it or write it down as an issue")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(raised, ast.Name) and raised.id == "NotImplementedError":
                yield source.finding(node, "an unfinished function; a Protocol needs no body")


def sql_stays_in_the_store(source: Source) -> Iterator[Finding]:
    if excepted(source.path, SQL):
        return
    for node, text in source.texts():
        if found := SQL_STATEMENT.search(text):
            yield source.finding(node, f"SQL outside the store: {found.group()[:40]!r}")


def the_core_is_pure(source: Source) -> Iterator[Finding]:
    """The core imports the standard library's pure part and itself."""
    if not source.path.startswith("src/opscore/core/"):
        return
    impure = impure_modules()
    for node in ast.walk(source.tree):
        for name in imports_of(node):
            top = name.partition(".")[0]
            if top in impure:
                yield source.finding(node, f"the core imports {name}, which is not pure")
            elif top == "opscore" and not f"{name}.".startswith("opscore.core."):
                yield source.finding(node, f"the core imports {name}")
            elif top != "opscore" and top not in sys.stdlib_module_names:
                yield source.finding(
                    node, f"the core imports {name}, which is not the standard library"
                )


def imports_of(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module="opscore", names=names):
            return [f"opscore.{alias.name}" for alias in names]
        case ast.ImportFrom(module=str() as module):
            return [module]
        case _:
            return []


@cache
def impure_modules() -> frozenset[str]:
    """The list has one home: the import contract in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in project["tool"]["importlinter"]["contracts"]:
        if contract.get("source_modules") == ["opscore.core"]:
            return frozenset(contract["forbidden_modules"])
    raise AssertionError("pyproject.toml has no contract for the core alone")


FOR_ALL: tuple[Rule, ...] = (telling_names, errors_are_not_swallowed, nothing_is_unfinished)
FOR_SOURCE: tuple[Rule, ...] = (
    short_files,
    short_functions,
    time_and_chance_enter_once,
    tasks_have_a_group,
    sql_stays_in_the_store,
    the_core_is_pure,
)
