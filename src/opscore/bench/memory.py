"""How much memory a process has."""

from __future__ import annotations

import subprocess
from pathlib import Path

KIB = 1024
MB = 1_000_000


def memory_of(pid: int) -> dict[str, float]:
    """Megabytes (10^6 bytes): `rss`, and where the system tells them, `pss` and `private`.

    `rss` counts pages that are shared with others (the interpreter's and the libraries' code) in
    full, `pss` shares them out, `private` leaves them out.
    """
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if not rollup.exists():
        return {"rss": _rss_by_ps(pid) * KIB / MB}
    fields: dict[str, int] = {}
    for line in rollup.read_text(encoding="ascii").splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0])
    private = fields["Private_Clean"] + fields["Private_Dirty"]
    kib = {"rss": fields["Rss"], "pss": fields["Pss"], "private": private}
    return {name: value * KIB / MB for name, value in kib.items()}


def _rss_by_ps(pid: int) -> int:
    found = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True, text=True
    )
    return int(found.stdout)
