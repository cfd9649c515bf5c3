"""The walk from a path to its target, beside what the general router finds."""

from __future__ import annotations

import pytest

from opscore.api.app import by_path
from opscore.api.paths import Paths

PATHS = Paths(
    (template, template)
    for template in ("/task", "/task/settle", "/task/{id}", "/task/{id}/x/{other}", "/a/{id}/b")
)


@pytest.mark.parametrize(
    ("path", "template", "values"),
    [
        ("/task", "/task", {}),
        ("/task/settle", "/task/settle", {}),
        ("/task/settled", "/task/{id}", {"id": "settled"}),
        ("/task/1/x/2", "/task/{id}/x/{other}", {"id": "1", "other": "2"}),
    ],
)
def test_a_path_is_found(path: str, template: str, values: dict[str, str]) -> None:
    assert PATHS.find(path) == (template, values)


@pytest.mark.parametrize(
    "path", ["", "/", "task", "/task/", "//task", "/task//x/2", "/task/1/x", "/a/1", "/a/1/b/c"]
)
def test_another_is_left_to_the_router(path: str) -> None:
    assert PATHS.find(path) is None


def test_every_declared_path_is_found_as_it_is() -> None:
    paths = Paths((template, template) for template in by_path())
    for template in by_path():
        filled = template.replace("{", "of-").replace("}", "")
        found = paths.find(filled)
        assert found is not None
        assert found[0] == template
