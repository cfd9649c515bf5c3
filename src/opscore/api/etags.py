"""`ETag` and `If-Match` (RFC 9110, 8.8.3 and 13.1.1): an edit for what was seen, or 412."""

from __future__ import annotations

import re

from opscore.api.call import Call
from opscore.core.errors import Invalid
from opscore.engine.records import AgentRecord, SessionRecord, TaskRecord
from opscore.engine.revisions import Seen, task_revision

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')


def etag(record: AgentRecord | SessionRecord | TaskRecord) -> tuple[bytes, bytes]:
    """The header that names the revision of an answer."""
    revision = task_revision(record) if isinstance(record, TaskRecord) else record.revision
    return b"etag", f'"{revision}"'.encode()


def if_match(call: Call) -> Seen:
    """The revisions that a request is made for; None for any. Raises `Invalid`.

    A weak tag never matches, as the RFC has it.
    """
    given = call.header(b"if-match")
    if given is None or given.strip() == "*":
        return None
    found = [_TAG.fullmatch(one.strip()) for one in given.split(",")]
    if not all(found):
        raise Invalid('If-Match takes the ETag of an answer with its quotes, such as "12", or *.')
    return frozenset(one[2] for one in found if one is not None and one[1] is None)
