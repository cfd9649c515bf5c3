"""Writes the generated parts of the documentation, or says which are out of date.

    python -m tools.generate            write
    python -m tools.generate --check    exit 1 and name what `make docs` would change

A generated part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; the rest of the page is by hand.
The journals of docs/journals/ are generated as a whole, by `tools/record.py`; the JSON Schemas of schemas/ are those that
a server publishes; the dashboards of deploy/grafana/ come from `tools/dashboards.py`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from opscore.api import schemas
from opscore.telemetry.logs import configure
from tools import commands, components, dashboards, measured, record, sequence, states

ROOT = Path(__file__).resolve().parents[1]
JOURNALS = "docs/journals"
SCHEMAS = "schemas"
DASHBOARDS = "deploy/grafana"


recorded = cache(record.journals)

PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/architecture.md": {
        "components": components.diagram,
        "states": states.diagrams,
        "sequences": lambda: sequence.diagrams(recorded()),
    },
    "docs/cli.md": {"commands": commands.tables},
    "docs/observability.md": {"metrics": measured.table},
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


def stale_files() -> dict[Path, str | None]:
    """The files that are out of date, with the text they should have; None: it should not exist."""
    wanted: dict[Path, str | None] = {}
    folders = ((JOURNALS, recorded()), (SCHEMAS, schemas.texts()), (DASHBOARDS, dashboards.texts()))
    for folder, texts in folders:
        wanted |= dict.fromkeys((ROOT / folder).glob("*.json*"))
        wanted |= {ROOT / folder / name: text for name, text in texts.items()}
    for name, parts in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        wanted[ROOT / name] = rewritten(text, {part: make() for part, make in parts.items()})
    return {path: text for path, text in wanted.items() if text != present(path)}


def present(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def main(arguments: list[str]) -> int:
    configure("critical")
    stale = stale_files()
    for path, text in stale.items():
        name = path.relative_to(ROOT).as_posix()
        if "--check" in arguments:
            print(f"{name} is out of date; run `make docs` and commit what it writes")
        else:
            put(path, text)
            print(f"wrote {name}" if text is not None else f"removed {name}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
