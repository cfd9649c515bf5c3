"""Writes the generated parts of the documentation, or says which are out of date.

    python -m tools.generate            write
    python -m tools.generate --check    exit 1 and name what `make docs` would change

A generated part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; the rest of the page is by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tools import components, sequence, states

ROOT = Path(__file__).resolve().parents[1]

PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/architecture.md": {
        "components": components.diagram,
        "states": states.diagrams,
        "sequences": lambda: sequence.diagrams(ROOT / "docs" / "journals"),
    },
}


def rewritten(text: str, parts: Mapping[str, str]) -> str:
    """The page with each part's text between its markers.

    Raises:
        ValueError: a part has no markers on the page, or a marker has no part.
    """
    for name, part in parts.items():
        between = re.compile(f"(<!-- generated: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
        if len(between.findall(text)) != 1:
            raise ValueError(
                f"the page needs `<!-- generated: {name} -->` and `<!-- end: {name} -->` once"
            )
        text = between.sub(
            lambda found, part=part: f"{found[1]}\n{part.strip()}\n\n{found[2]}", text
        )
    if unknown := set(re.findall(r"<!-- generated: (\S+) -->", text)) - parts.keys():
        raise ValueError(f"nothing generates {', '.join(sorted(unknown))}")
    return text


def stale_pages() -> dict[Path, str]:
    """The pages that are out of date, with the text they should have."""
    stale: dict[Path, str] = {}
    for name, parts in PAGES.items():
        page = ROOT / name
        text = page.read_text(encoding="utf-8")
        fresh = rewritten(text, {part: make() for part, make in parts.items()})
        if fresh != text:
            stale[page] = fresh
    return stale


def main(arguments: list[str]) -> int:
    stale = stale_pages()
    for page, text in stale.items():
        name = page.relative_to(ROOT).as_posix()
        if "--check" in arguments:
            print(f"{name} is out of date; run `make docs` and commit what it writes")
        else:
            page.write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote {name}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
