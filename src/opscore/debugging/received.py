"""Where the spans that agents recorded stand among those of the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opscore.core.received import ReceivedSpan
from opscore.debugging.spans import Span, SpanEvent

ORPHAN = "opscore.parent.missing"
"""Of a span whose parent was not received (its process was killed before it ended)."""


def joined(root: Span, ours: Sequence[Span], received: Sequence[ReceivedSpan]) -> list[Span]:
    """The received spans below the span that they name as their parent.

    What the caller recorded above the session or beside it is not the session's. What hangs on
    nothing is shown below the session, if it began the trace: else it may be another's.
    """
    places = {span.span_id: span for span in ours}
    sent = {one.span_id: one for one in received if one.span_id not in places}
    known: dict[str, Span | None] = dict(places)
    found: list[Span] = []
    for one in sent.values():
        above = _above(one, root, sent, known)
        if above is not None:
            found.append(_span(one, above, missing=_is_missing(one, places, sent)))
    return found


def _is_missing(
    one: ReceivedSpan, places: Mapping[str, Span], sent: Mapping[str, ReceivedSpan]
) -> bool:
    return one.parent_id not in places and one.parent_id not in sent


def _above(
    one: ReceivedSpan, root: Span, sent: Mapping[str, ReceivedSpan], known: dict[str, Span | None]
) -> Span | None:
    """The span of ours that its parents lead to; remembered for each of them."""
    chain: dict[str, None] = {}
    at: str | None = one.span_id
    while at is not None and at in sent and at not in known and at not in chain:
        chain[at] = None
        at = sent[at].parent_id
    if at is not None and at in known:
        above = known[at]
    else:
        is_lost = at is not None and at not in sent and root.parent_id is None
        above = root if is_lost else None
    known.update(dict.fromkeys(chain, above))
    return above


def _span(one: ReceivedSpan, above: Span, *, missing: bool) -> Span:
    """Session and step are those of the span of ours above it."""
    span = Span(
        one.span_id,
        above.span_id if missing else one.parent_id,
        one.name,
        "reported",
        above.session_id,
        one.started_at,
        above.began,
        step=above.step,
        target=above.target,
        ended_at=one.ended_at,
        status=one.status,
        attributes=dict(one.attributes),
        events=[SpanEvent(event.name, event.at, dict(event.attributes)) for event in one.events],
    )
    if one.source:
        span.attributes["service.name"] = one.source
    if one.status == "error":
        span.attributes.setdefault("error.type", "error")
    if one.message:
        span.attributes["error.message"] = one.message
    if missing:
        span.attributes[ORPHAN] = True
    return span
