"""Find the Python files of a source tree, the same list in the same order every time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Installed packages and compiled files are not part of the tree that somebody writes.
LEFT_OUT = frozenset({"site-packages", "dist-packages", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something met on the way that is not in the list, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The Python files below a root, as POSIX paths relative to it; and what could not be taken.

    Directories named in LEFT_OUT are left out by rule and not reported.
    """

    files: list[str]
    skipped: list[Skipped]


def python_files(root: str | os.PathLike[str]) -> list[str]:
    """Return the files of `scan_tree`, sorted. Raises what `scan_tree` raises."""
    return scan_tree(root).files


def scan_tree(root: str | os.PathLike[str]) -> Scan:
    """List the Python files below `root`.

    No symbolic link is followed: a target inside the tree is listed under its own name, and one
    outside does not belong to it. Raises OSError when `root` itself is no readable directory.
    """
    top = Path(root)
    with os.scandir(top):  # an unreadable root is an error, not an empty tree
        pass
    files: list[str] = []
    skipped: list[Skipped] = []
    waiting = [(top, "")]
    while waiting:
        directory, prefix = waiting.pop()
        for entry in _entries(directory, prefix, skipped):
            path = prefix + entry.name
            reason = _why_not(entry)
            if reason:
                skipped.append(Skipped(_printable(path), reason))
            elif entry.is_dir(follow_symlinks=False):
                waiting.append((Path(entry.path), path + "/"))
            else:
                files.append(path)
    return Scan(sorted(files), sorted(skipped, key=lambda skip: skip.path))


def _entries(directory: Path, prefix: str, skipped: list[Skipped]) -> list[os.DirEntry[str]]:
    """Return the subdirectories and Python files of a directory; an unreadable one is reported."""
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if _concerns_us(entry)]
    except OSError as error:
        skipped.append(Skipped(_printable(prefix), error.strerror or str(error)))
        return []


def _concerns_us(entry: os.DirEntry[str]) -> bool:
    # `Path.is_dir` follows links, and answers False for one that loops.
    return entry.name not in LEFT_OUT and (entry.name.endswith(".py") or Path(entry.path).is_dir())


def _why_not(entry: os.DirEntry[str]) -> str | None:
    if entry.is_symlink():
        return "symbolic link"
    if entry.name != _printable(entry.name):
        return "name is not UTF-8"
    if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
        return None
    return "not a regular file"


def _printable(name: str) -> str:
    """Replace what cannot be written as UTF-8 (bytes that Python smuggles in as surrogates)."""
    return name.encode("utf-8", "backslashreplace").decode()
