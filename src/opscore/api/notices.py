"""What was heard of AgentKit already."""

from __future__ import annotations

from collections import OrderedDict

REMEMBERED = 10_000


class Notices:
    """The signatures of notices that were carried out: the same one again changes nothing.

    Without this, a recorded REGISTER could be sent again after the DEREGISTER. Bounded; what is
    forgotten is older than the tolerance, or one of ten thousand within it.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()

    def known(self, signature: str) -> bool:
        """Whether it was carried out before."""
        return signature in self._seen

    def done(self, signature: str) -> None:
        """It was carried out."""
        self._seen[signature] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
