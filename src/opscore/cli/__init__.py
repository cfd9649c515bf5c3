"""The opscore command.

Nothing is imported here: a command loads what it needs when it runs, so that the first line of a
client command appears in well under 150 ms.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line `arguments` (default: the process's own) and exit with its code.

    Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 session failed, 5 timeout, 130 interrupted.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    if tokens == ["--version"]:
        from opscore import __version__

        print(f"opscore {__version__}")
        sys.exit(0)
    from opscore.cli.app import execute

    sys.exit(execute(tokens))
