"""What waits under limits, as rows keep it."""

from __future__ import annotations

import msgspec

from opscore.core.limits import Terms
from opscore.core.state import SessionState
from opscore.store.gate_rows import GatedRow
from opscore.store.rows import ReadyRow

SESSIONS = "session:"
"""The queue of sessions that wait for room under their template's limits: nobody claims from it."""

read_terms = msgspec.json.Decoder(Terms).decode
"""Terms from their column."""


def terms_text(terms: Terms) -> str:
    """Terms as their column keeps them."""
    return msgspec.json.encode(terms).decode()


def session_row(state: SessionState) -> ReadyRow:
    """The place of a session that waits for room."""
    of = state.session_id
    return ReadyRow(state.namespace, SESSIONS, state.order, of, of, None)


def gated_row(row: ReadyRow, terms: Terms) -> GatedRow:
    """A waiting task as its table keeps it."""
    return GatedRow(*row, terms_text(terms))
