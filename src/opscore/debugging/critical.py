"""The critical path of a trace, and where its time went.

From the end backwards: of the spans within a span, the one that ended last is on the path; before
it began, the one that had ended last by then; and so on. After Zhang et al., "CRISP: Critical Path
Analysis of Large-Scale Microservice Architectures" (USENIX ATC 2022).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from opscore.core.types import Micros
from opscore.debugging.spans import LEAVES, OPEN, Kind, Span


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where time of the path passed: a kind of span, in a step, for a capability or an agent."""

    kind: Kind
    session_id: str
    step: str | None
    target: str | None


@dataclass(slots=True)
class CriticalPath:
    """The time from begin to end, by kind of span; the rest of `total` is nobody's span."""

    total: Micros
    by_kind: dict[Kind, Micros] = field(default_factory=dict[Kind, Micros])
    by_stretch: dict[Stretch, Micros] = field(default_factory=dict[Stretch, Micros])

    @property
    def rest(self) -> Micros:
        """Neither queue nor work nor any wait: between steps, or while a session stood still."""
        return max(0, self.total - sum(self.by_kind.values()))

    @property
    def bottleneck(self) -> tuple[Stretch, Micros] | None:
        """Where most of it went; None when no time has passed in any span."""
        most = max(self.by_stretch.items(), key=lambda pair: pair[1], default=None)
        return most if most is not None and most[1] > 0 else None


def critical_path(root: Span, spans: Sequence[Span], now: Micros) -> CriticalPath:
    """Mark the spans that are on the path from `root`; what is open ends `now`."""
    within: defaultdict[str | None, list[Span]] = defaultdict(list)
    for span in spans:
        within[span.parent_id].append(span)
    end = now if root.ended_at is None else root.ended_at
    path = CriticalPath(end - root.started_at)
    _walk(root, end, within, path, now)
    return path


def _walk(
    span: Span,
    end: Micros,
    within: Mapping[str | None, list[Span]],
    path: CriticalPath,
    now: Micros,
) -> None:
    span.critical = True
    if span.kind in LEAVES:
        _count(span, end, path)
        return
    cursor = OPEN
    for inner in sorted(within.get(span.span_id, ()), key=_last_first):
        if inner.over <= cursor:
            ended = now if inner.ended_at is None else inner.ended_at
            _walk(inner, min(ended, end), within, path, now)
            cursor = inner.began


def _last_first(span: Span) -> tuple[int, int]:
    return -span.over, span.began


def _count(span: Span, end: Micros, path: CriticalPath) -> None:
    passed = max(0, end - span.started_at)
    where = Stretch(span.kind, span.session_id, span.step, span.target)
    path.by_kind[span.kind] = path.by_kind.get(span.kind, 0) + passed
    path.by_stretch[where] = path.by_stretch.get(where, 0) + passed
