"""The figures equal those of radon, an independent program, on packages that are installed."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opscore.demo.measure import list_functions, measure_source
from opscore.demo.scan import python_files

radon_cc: Any = importlib.import_module("radon.complexity")
radon_raw: Any = importlib.import_module("radon.raw")
radon_visitors: Any = importlib.import_module("radon.visitors")

PACKAGES = ["aiohttp", "litestar", "rich"]
# radon's line count needs minutes for the long tables in rich.
LINE_PACKAGES = ["aiohttp", "litestar", "click"]

CONSTRUCTS = {
    "closure": "def f():\n def g():\n  if 1: pass\n return g",
    "decorated": "@d(lambda: 1 if 2 else 3)\ndef f(x=1 if 2 else 3): pass",
    "comprehension": "def f(): return [a for b in c if d if e for g in h], {i for i in j}",
    "generator": "def f(): return sum(a for b in c if d), {a: b for a in c}",
    "async": "async def f():\n async for a in b: pass\n else: pass\n async with c: await d",
    "async comprehension": "async def f(): return [a async for a in b if a or c]",
    "operators": "def f(): return (a and b and c) or not d",
    "assert": "def f():\n assert a and b or [c for c in d if e], 'x' if y else 'z'",
    "with": "def f():\n with a if b else c: pass",
    "try": "def f():\n try: pass\n except A: pass\n except B: pass\n else: pass\n finally: x or y",
    "try group": "def f():\n try: pass\n except* A:\n  if b: pass\n else: pass",
    "loops": "def f():\n for a in b: pass\n else: pass\n while c: 1\n while d: pass\n else: pass",
    "branches": "def f():\n if a: pass\n elif b: pass\n else: return c if d else e",
    "lambda": "def f(): return lambda a: a if b else [c for c in d]",
    "match": "def f(a):\n match a:\n  case 1 | 2: 1\n  case [x, *_] if x or y: 1\n  case _: pass",
    "match name": "def f(a):\n match a:\n  case {'b': 1}: pass\n  case other if other: pass",
    "match as": "def f(a):\n match a:\n  case (1 | 2) as b: pass\n  case A(): pass\n  case _: pass",
    "match all": "def f(a):\n match a:\n  case _: pass",
    "class in function": "def f():\n class A:\n  if a: pass\n  def g(self):\n   if b: pass",
    "inner class": "class A:\n class B:\n  def g(self):\n   while a: 1\n if c:\n  def h(self): 1",
    "class keywords": "def f():\n class A(b if c else d, metaclass=e or g): pass",
    "conditional def": "if a:\n def f():\n  if b: pass\nelse:\n def f(): pass",
}


def _ours(tree: ast.Module) -> list[tuple[int, str, int]]:
    return [
        (function.line, function.name.rpartition(".")[2], function.complexity)
        for function in list_functions(tree)
    ]


def _radons(tree: ast.Module) -> list[tuple[int, str, int]]:
    """Give every definition to radon by itself: its module figures leave out deep ones."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    visitors = [
        radon_visitors.ComplexityVisitor.from_ast(node)
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]
    found = [visitor.functions[0] for visitor in visitors]
    return sorted((function.lineno, function.name, function.complexity) for function in found)


def _radons_module(tree: ast.Module) -> set[tuple[int, str, int]]:
    blocks = radon_cc.add_inner_blocks(radon_cc.cc_visit_ast(tree))
    functions = [block for block in blocks if block.letter != "C"]
    return {(one.lineno, one.name.rpartition(".")[2], one.complexity) for one in functions}


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_every_construct_counts_as_radon_counts_it(construct: str) -> None:
    tree = ast.parse(CONSTRUCTS[construct])
    assert _ours(tree) == _radons(tree)
    assert _radons_module(tree) <= set(_ours(tree))


def _modules(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(spec.submodule_search_locations[0])
    return (root / file for file in python_files(root))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_measures_as_with_radon(package: str) -> None:
    functions = 0
    for module in _modules(package):
        data = module.read_bytes()
        tree = ast.parse(data)
        expected = _radons(tree)
        assert _ours(tree) == expected, module
        assert _radons_module(tree) <= set(expected), module
        measures = measure_source(data)
        assert measures.functions == len(expected), module
        assert measures.complexity == sum(one[2] for one in expected), module
        worst = max((one[2] for one in expected), default=None)
        assert (measures.worst[0].complexity if measures.worst else None) == worst, module
        functions += len(expected)
    assert functions > 500


@pytest.mark.parametrize("package", LINE_PACKAGES)
def test_a_package_has_radons_lines(package: str) -> None:
    for module in _modules(package):
        data = module.read_bytes()
        assert measure_source(data).lines == radon_raw.analyze(data.decode()).loc, module


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_as_long_as_the_interpreter_shows_them(package: str) -> None:
    for module in _modules(package):
        source = module.read_text("utf-8")
        lines = source.splitlines(keepends=True)
        for function in list_functions(ast.parse(source)):
            block = inspect.getblock(lines[function.line - 1 :])
            while block[-1].lstrip().startswith("#"):  # it takes comments that follow, too
                block.pop()
            assert function.lines == len(block), (module, function)
