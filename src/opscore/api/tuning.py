"""Settings of the interpreter that a busy server wants, each with its measured reason."""

from __future__ import annotations

import gc
import sys

SWITCH_INTERVAL = 0.0001
GC_THRESHOLDS = (100_000, 50, 100)


def tune_interpreter() -> None:
    """Set them for this process; called by whoever runs a server, never by a library import.

    The store's thread and the loop hand the interpreter's lock back and forth with every commit: at
    the default switch interval of 5 ms one of them would often wait longer than the commit takes.
    The engine keeps hundreds of thousands of records and makes no cycles of them: at the default
    threshold the cycle collector walked them all so often that it took a quarter of the time.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(*GC_THRESHOLDS)
