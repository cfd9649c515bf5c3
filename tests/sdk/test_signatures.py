"""Verifying what Ops-Core sends, against what it really signs."""

from __future__ import annotations

import base64
import hmac

import pytest

from opscore.outgoing.signing import Signing, signed
from opscore.sdk import SignatureRefused, verify

SECRET = Signing(b"root").secret("callback", "ses_1")
NOW = 1_700_000_000
BODY = b'{"type":"session.completed"}'
HEADERS = signed(SECRET, "ses_1-end", NOW, BODY)


def test_what_is_sent_passes_and_gives_its_id() -> None:
    assert verify(SECRET, HEADERS, BODY, now=NOW) == "ses_1-end"
    spelt = {name.title(): value for name, value in HEADERS.items()}
    assert verify(SECRET, spelt, BODY, now=NOW + 299) == "ses_1-end"


def test_the_example_of_standard_webhooks_passes() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert verify(secret, headers, b'{"test": 2432232314}', now=1614265330)


def test_one_of_several_signatures_is_enough() -> None:
    right = HEADERS["webhook-signature"]
    other = "v1," + base64.b64encode(b"x" * 32).decode()
    for given in (f"{other} {right}", f"v1a,xx {right} {other}"):
        assert verify(SECRET, {**HEADERS, "webhook-signature": given}, BODY, now=NOW)


@pytest.mark.parametrize(
    ("changes", "body", "why"),
    [
        ({}, BODY + b" ", "not that of this message"),
        ({"webhook-id": "ses_2-end"}, BODY, "not that of this message"),
        ({"webhook-timestamp": str(NOW + 1)}, BODY, "not that of this message"),
        ({"webhook-signature": ""}, BODY, "not that of this message"),
        ({"webhook-signature": "v1,"}, BODY, "not that of this message"),
        ({"webhook-signature": "v1,é"}, BODY, "not that of this message"),
        ({"webhook-signature": "v2" + HEADERS["webhook-signature"][2:]}, BODY, "not that of"),
        (signed(SECRET, "a", NOW - 301, BODY), BODY, "300 seconds old"),
        (signed(SECRET, "a", NOW + 301, BODY), BODY, "or early"),
        (signed(Signing(b"root").secret("callback", "ses_2"), "a", NOW, BODY), BODY, "not that"),
    ],
)
def test_anything_else_is_refused(changes: dict[str, str], body: bytes, why: str) -> None:
    with pytest.raises(SignatureRefused, match=why):
        verify(SECRET, {**HEADERS, **changes}, body, now=NOW)


@pytest.mark.parametrize("name", HEADERS)
def test_a_missing_header_is_named(name: str) -> None:
    given = {one: value for one, value in HEADERS.items() if one != name}
    with pytest.raises(SignatureRefused, match=name):
        verify(SECRET, given, BODY, now=NOW)


def test_a_time_that_is_none_is_refused() -> None:
    headers = dict(HEADERS)
    for stamp in ("soon", "1e9", "-1"):
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        mac = hmac.digest(key, f"a.{stamp}.".encode() + BODY, "sha256")
        headers |= {"webhook-id": "a", "webhook-timestamp": stamp}
        headers["webhook-signature"] = "v1," + base64.b64encode(mac).decode()
        with pytest.raises(SignatureRefused, match="number of seconds"):
            verify(SECRET, headers, BODY, now=NOW)


def test_a_secret_that_is_none_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        verify("not a secret!", HEADERS, BODY, now=NOW)
