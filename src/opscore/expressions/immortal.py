"""A guard against a reference count that the CEL library gets wrong.

`plain_value()` gives up one reference to None too many for every null inside a list or map that it
returns (seen with cel-expr-python 0.1.3). Since Python 3.12 None has no count to lose; on 3.11 a
server that evaluates for long enough would end with "deallocating None". So None gets there what
3.12 gives it: a count that cannot run out. `tests/test_expressions.py` holds this in place.
"""

from __future__ import annotations

import ctypes
import sys

_PLENTY = 1 << 60


def keep_none_alive() -> None:
    """Make None immortal where it is not: CPython 3.11. Does nothing the second time."""
    counted = sys.implementation.name == "cpython" and sys.version_info < (3, 12)
    if counted and sys.getrefcount(None) < _PLENTY // 2:
        # The count is the first field of every object.
        ctypes.c_ssize_t.from_address(id(None)).value += _PLENTY
