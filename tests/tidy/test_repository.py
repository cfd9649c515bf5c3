"""What is committed works on any machine: locks without addresses, no path of one machine."""

from __future__ import annotations

import re

import pytest

from tests.tidy.exceptions import QUOTING, excepted
from tests.tidy.source import ROOT, files

TEXT = frozenset(
    {"", ".cfg", ".css", ".html", ".in", ".ini", ".js", ".json", ".jsonl", ".lock", ".md", ".py"}
    | {".sh", ".sql", ".toml", ".ts", ".txt", ".yaml", ".yml"}
)
ADDRESS = re.compile(r"://|--(extra-)?index-url|--find-links|@ file")
PINNED = re.compile(
    r"^[a-z0-9-]+==\S+( ; .+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", re.MULTILINE
)
REQUIREMENT = re.compile(r"^[A-Za-z0-9]", re.MULTILINE)
MACHINE_PATH = re.compile(r"(?<![\w.~])/(root|home|Users)/[\w.]|\b[A-Z]:\\Users\\")

GOOD_LOCK = "anyio==4.0 ; sys_platform == 'win32' \\\n    --hash=sha256:" + "0" * 64 + "\n"


def faults_of_lock(text: str) -> list[str]:
    """Addresses, and requirements that are not both pinned and hashed."""
    addresses = [f"address: {found.group()}" for found in ADDRESS.finditer(text)]
    loose = len(REQUIREMENT.findall(text)) - len(PINNED.findall(text))
    return addresses + ([f"{loose} without pin or hash"] if loose else [])


def faults_of_text(text: str) -> list[str]:
    return [found.group() for found in MACHINE_PATH.finditer(text)]


@pytest.mark.parametrize("name", ["build.txt", "dev.txt", "lock.txt", "runtime.txt", "supply.txt"])
def test_locks_are_pinned_hashed_and_without_address(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert REQUIREMENT.search(text)
    assert faults_of_lock(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "--index-url https" + "://example.org/simple\n" + GOOD_LOCK,
        "--find-links wheels\n" + GOOD_LOCK,
        "anyio==4.0\n",
        "anyio>=4.0 \\\n    --hash=sha256:" + "0" * 64 + "\n",
        "anyio @ file" + ":///wheels/anyio.whl\n",
    ],
)
def test_a_bad_lock_is_found(text: str) -> None:
    assert faults_of_lock(GOOD_LOCK) == []
    assert faults_of_lock(text)


def test_no_path_of_one_machine() -> None:
    faults = {
        name: found
        for path in files(".", suffixes=TEXT)
        if not excepted(name := path.relative_to(ROOT).as_posix(), QUOTING)
        and (found := faults_of_text(path.read_text(encoding="utf-8")))
    }
    assert faults == {}


@pytest.mark.parametrize("text", ["see /root/x", "'/home/ann/x'", "/Users/ann", r"C:\Users\ann"])
def test_a_path_of_one_machine_is_found(text: str) -> None:
    assert faults_of_text(text)


@pytest.mark.parametrize("text", ["https://example.org/home/x", "~/src/x", "./home/x", "a/root/x"])
def test_other_paths_are_left_alone(text: str) -> None:
    assert faults_of_text(text) == []
