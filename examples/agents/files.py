"""A counter that reads the files of a directory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from opscore.sdk import Agent, Fatal, Task

counter = Agent("counter", max_in_flight=8)


@counter.task("list-files")
def list_files(directory: str, ending: str) -> list[str]:
    """The files with this ending, sorted."""
    root = Path(directory)
    if not root.is_dir():
        raise Fatal(f"{directory} is not a directory")
    return sorted(str(path) for path in root.rglob(f"*{ending}"))


@counter.task("count-words-of")
def count_words_of(path: str, task: Task) -> dict[str, int]:
    """How often each word of more than three letters occurs in a file."""
    task.progress(message=f"reading {path}")
    words = Path(path).read_text(encoding="utf-8").lower().split()
    return dict(Counter(word for word in words if word.isalpha() and len(word) > 3))


@counter.task("merge-counts")
def merge_counts(counts: list[dict[str, int]], top: int) -> dict[str, int]:
    """The most frequent words of all counts."""
    whole: Counter[str] = Counter()
    for each in counts:
        whole.update(each)
    return dict(whole.most_common(top))


AGENTS = [counter]
