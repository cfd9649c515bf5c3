"""Settings of the interpreter that a busy server wants, each with its measured reason."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress

SWITCH_INTERVAL = 0.0001
SPARE_DESCRIPTORS = 256
"""For the database, the log and what the interpreter opens."""
CONNECTIONS_WITHOUT_LIMIT = 100_000
GC_THRESHOLDS = (100_000, 50, 100)


def tune_interpreter() -> None:
    """Set them for this process; called by whoever runs a server, never by a library import.

    The store's threads and the loop hand the interpreter's lock back and forth with every commit and
    read: at the default switch interval of 5 ms one of them would often wait longer than that takes.
    The engine keeps hundreds of thousands of records and makes no cycles of them: at the default
    threshold the cycle collector walked them all so often that it took a quarter of the time. A walk
    over the young ones stops the loop for a third of a microsecond each.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(*GC_THRESHOLDS)


def most_connections() -> int:
    """How many connections this process can have, after raising its limit as far as it may."""
    if sys.platform == "win32":
        return CONNECTIONS_WITHOUT_LIMIT
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_WITHOUT_LIMIT + SPARE_DESCRIPTORS
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # macOS refuses more than the kernel allows
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    most = most if soft == resource.RLIM_INFINITY else min(soft, most)
    return max(64, most - SPARE_DESCRIPTORS)
