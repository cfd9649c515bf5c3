"""How this very program is called from a shell, so that commands it prints can be copied."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """The words before a command: `opscore` where the shell finds it, else the path to it."""
    name = Path(sys.argv[0])
    if name.name == "opscore":
        found = shutil.which("opscore")
        if found is not None and name.exists() and Path(found).samefile(name):
            return "opscore"
        return _from_here(name.absolute())
    if name.name == "__main__.py" and "opscore" in {name.parent.name, name.parent.parent.name}:
        return f"{shlex.quote(sys.executable)} -m opscore"
    return "opscore"


def _from_here(path: Path) -> str:
    """The shortest path to it, quoted."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
