"""What is told of a template with mistakes: one line for each, as `opscore workflow validate` does.

python -m tests.mistakes.told         writes what is told now beside each mistake, to be read
"""

from __future__ import annotations

from pathlib import Path

from opscore.core.errors import Invalid
from opscore.documents import formatted
from opscore.templates import check_template

FOLDER = Path(__file__).parent


def told(path: Path) -> str:
    """The mistakes and warnings of a file, a line each."""
    try:
        found = check_template(path.read_text(encoding="utf-8"), name=path.name)
    except Invalid as invalid:
        return "\n".join(formatted(invalid.faults, path.name)) + "\n"
    warnings = [f"warning: {line}" for line in formatted(found.warnings, path.name)]
    return "\n".join([*formatted(found.faults, path.name), *warnings]) + "\n"


if __name__ == "__main__":
    for each in sorted(FOLDER.glob("*.yaml")):
        each.with_suffix(".txt").write_text(told(each), encoding="utf-8")
