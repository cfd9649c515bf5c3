"""Signatures of what we send, in the form of Standard Webhooks (github.com/standard-webhooks).

No secret is stored: each is derived from the one that the store keeps, so that every replica knows
it and a copy of the tables that people may read tells none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Signing:
    """Makes the secrets of agents and callbacks from the store's own."""

    root: bytes = field(repr=False)

    def secret(self, *names: str) -> str:
        """The secret that belongs to these names, as Standard Webhooks writes it."""
        # Each name with its length, so that no two lists of names sound alike.
        told = "".join(f"{len(name)}:{name}" for name in names).encode()
        return PREFIX + base64.b64encode(_mac(self.root, told)).decode()


def signed(secret: str, message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The three headers of a message that is sent at `seconds` since the epoch."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": signature(secret, message_id, seconds, body),
    }


def signature(secret: str, message_id: str, seconds: int, body: bytes) -> str:
    """`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(_mac(key, signed)).decode()


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
