"""Signatures of what Ops-Core sends: completion callbacks, and tasks of agents that are called.

Form: Standard Webhooks (github.com/standard-webhooks), HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

from opscore.sdk.errors import SignatureRefused

PREFIX = "whsec_"
TOLERANCE_SECONDS = 300.0


def verify(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> str:
    """Make sure that a message is Ops-Core's, whole and recent; gives its `webhook-id`.

    `secret` is what the start (`callbackSecret`) or the registration (`signingSecret`) answered,
    `body` the bytes as they came, before any parsing. The same message may come twice: its id is
    the same then. `tolerance`: by how many seconds its time may differ from `now` (the clock's,
    when left out). Raises `SignatureRefused`, and `ValueError` for a secret that is none.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message_id, stamp, signatures = (
        _named(given, f"webhook-{part}") for part in ("id", "timestamp", "signature")
    )
    signed = f"{message_id}.{stamp}.".encode() + body
    right = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    if not any(_same(right, one) for one in signatures.split()):
        raise SignatureRefused("the signature is not that of this message with this secret")
    if not (stamp.isascii() and stamp.isdigit()):
        raise SignatureRefused("webhook-timestamp is not a number of seconds")
    if abs((time.time() if now is None else now) - int(stamp)) > tolerance:
        raise SignatureRefused(f"the message is more than {tolerance:g} seconds old, or early")
    return message_id


def _named(headers: Mapping[str, str], name: str) -> str:
    if name not in headers:
        raise SignatureRefused(f"the message is not signed: {name} is missing")
    return headers[name]


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret is not one of Ops-Core's (whsec_…)") from error


def _same(right: bytes, given: str) -> bool:
    """Compared in constant time, so that the time taken tells nothing about the right one."""
    version, _, text = given.partition(",")
    try:
        return version == "v1" and hmac.compare_digest(right, base64.b64decode(text, validate=True))
    except ValueError:
        return False
