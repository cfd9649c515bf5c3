"""Generated parts are put between their markers, and a stale one is noticed."""

from __future__ import annotations

import pytest

from tools import generate

PAGE = "# By hand\n\n<!-- generated: a -->\nold\n<!-- end: a -->\n\nby hand too\n"


def test_replaces_only_what_is_between_the_markers() -> None:
    assert generate.rewritten(PAGE, {"a": r"new \1"}) == (
        "# By hand\n\n<!-- generated: a -->\n\nnew \\1\n\n<!-- end: a -->\n\nby hand too\n"
    )


def test_writing_twice_changes_nothing() -> None:
    once = generate.rewritten(PAGE, {"a": "new"})
    assert generate.rewritten(once, {"a": "new"}) == once


@pytest.mark.parametrize(
    ("page", "parts"),
    [("no markers", {"a": "x"}), (PAGE + PAGE, {"a": "x"}), (PAGE, {})],
    ids=["missing", "twice", "unknown"],
)
def test_refuses_a_page_whose_markers_do_not_fit(page: str, parts: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="generate"):
        generate.rewritten(page, parts)


def test_what_is_committed_is_up_to_date() -> None:
    stale = [path.name for path in generate.stale_files()]
    assert stale == [], "run `make docs` and commit what it writes"
