"""Python source as the tidy rules see it: text, syntax tree, and what each name stands for."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

NOT_OURS = frozenset(
    {".git", ".venv", ".venv-lock", ".venv-supply", ".hypothesis", ".pytest_cache", ".ruff_cache"}
    | {".import_linter_cache", ".opscore", "__pycache__", "build", "dist", "node_modules"}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not tidy, and where."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file. `path` is relative to the repository, with forward slashes."""

    path: str
    text: str
    tree: ast.Module
    names: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, path: str, text: str) -> Source:
        tree = ast.parse(text, path)
        return cls(path, text, tree, imported_names(tree))

    def finding(self, node: ast.AST | int, text: str) -> Finding:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return Finding(self.path, line, text)

    def dotted(self, node: ast.expr) -> str | None:
        """The full name an expression stands for: `t.monotonic` is `time.monotonic` here."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name)
            case ast.Attribute(value=value, attr=attr):
                base = self.dotted(value)
                return f"{base}.{attr}" if base else None
            case _:
                return None

    def texts(self) -> Iterator[tuple[ast.expr, str]]:
        """Every string that is not documentation; a field of an f-string reads as `x`."""
        seen = {
            id(node.value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.JoinedStr):
                seen.update(id(part) for part in node.values)
                yield node, "".join(text_of(part) or "x" for part in node.values)
            elif id(node) not in seen and isinstance(node, ast.Constant):
                yield node, text_of(node)

    def calls(self) -> Iterator[ast.Call]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))


def text_of(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case _:
            return ""


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name → full name, for every import anywhere in the file."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def files(*folders: str, suffixes: frozenset[str] | None = None) -> Iterator[Path]:
    """The repository's own files below the folders, without caches and environments."""
    for folder in folders:
        for parent, below, names in os.walk(ROOT / folder):
            below[:] = sorted(name for name in below if name not in NOT_OURS)
            for name in sorted(names):
                path = Path(parent, name)
                if name not in NOT_OURS and (suffixes is None or path.suffix in suffixes):
                    yield path


def sources(*folders: str) -> Iterator[Source]:
    for path in files(*folders, suffixes=frozenset({".py"})):
        yield Source.of(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
