"""The kinds of step that templates may use: one file each, and one line here."""

from __future__ import annotations

from opscore.core.kinds.approval import APPROVAL
from opscore.core.kinds.child import CHILD
from opscore.core.kinds.kind import Kind
from opscore.core.kinds.signal import SIGNAL
from opscore.core.kinds.task import TASK
from opscore.core.kinds.value import VALUE
from opscore.core.kinds.wait import WAIT

KINDS = (TASK, CHILD, WAIT, SIGNAL, APPROVAL, VALUE)
KIND_KEYS = tuple(key for kind in KINDS for key in kind.keys)
KIND_OF: dict[str, Kind] = {key: kind for kind in KINDS for key in kind.keys}
"""The kind of a step that has this key."""

MODIFIERS = (
    *("with", "foreach", "maxParallel", "failures", "repeat"),
    *("retry", "timeout", "fallback", "priority", "concurrency", "rate"),
    *("match", "output"),
)
"""Keys that only some kinds accept; the others go with every kind."""
