"""Which files of a tree are listed, and that nothing is left out silently."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opscore.demo import scan
from opscore.demo.scan import Skipped, python_files, scan_tree


def _plant(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")


def test_paths_are_relative_sorted_and_complete(tmp_path: Path) -> None:
    _plant(tmp_path, "b.py", "a/z.py", "a/b/c.py", "a.py", "notes.txt", "a/data.pyc", "c.py/d.py")
    assert python_files(tmp_path) == ["a.py", "a/b/c.py", "a/z.py", "b.py", "c.py/d.py"]


def test_odd_names_are_kept_as_they_are(tmp_path: Path) -> None:
    names = [
        "with space.py",
        "ünïcode/日本.py",
        "line\nend.py",
        "pipe|`tick`.py",
        ".hidden.py",
        ".py",
    ]
    _plant(tmp_path, *names)
    assert python_files(tmp_path) == sorted(names)


def test_installed_and_compiled_files_are_left_out(tmp_path: Path) -> None:
    _plant(tmp_path, "site-packages/p.py", "x/__pycache__/q.py", "dist-packages/r.py", "x/kept.py")
    assert scan_tree(tmp_path) == scan.Scan(["x/kept.py"], [])


def test_links_are_reported_and_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    _plant(tmp_path, "outside/o.py", "root/in/i.py")
    (root / "in" / "loop").symlink_to(root)
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "o.py").symlink_to(tmp_path / "outside" / "o.py")
    (root / "self.py").symlink_to(root / "self.py")
    (root / "self").symlink_to(root / "self")
    (root / "gone.py").symlink_to(root / "nothing")
    (root / "notes.txt").symlink_to(root / "nothing")
    found = scan_tree(root)
    assert found.files == ["in/i.py"]
    links = ["gone.py", "in/loop", "o.py", "out", "self.py"]
    assert found.skipped == [Skipped(path, "symbolic link") for path in links]


def test_a_link_to_the_root_is_the_root(tmp_path: Path) -> None:
    _plant(tmp_path, "root/a.py")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert python_files(tmp_path / "link") == ["a.py"]


def test_what_is_no_regular_file_is_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    assert scan_tree(tmp_path).skipped == [Skipped("pipe.py", "not a regular file")]


def test_a_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.py")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert scan_tree(tmp_path).skipped == [Skipped("bad\\udcff.py", "name is not UTF-8")]


def test_an_unreadable_directory_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plant(tmp_path, "closed/a.py", "open/b.py")
    scandir = os.scandir

    def refuse(path: Path) -> object:  # permissions do not stop root, who runs tests in containers
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    found = scan_tree(tmp_path)
    assert found.files == ["open/b.py"]
    assert found.skipped == [Skipped("closed/", "Permission denied")]


def test_a_root_that_is_no_directory_is_an_error(tmp_path: Path) -> None:
    _plant(tmp_path, "file.py")
    with pytest.raises(FileNotFoundError):
        scan_tree(tmp_path / "nothing")
    with pytest.raises(NotADirectoryError):
        scan_tree(tmp_path / "file.py")
