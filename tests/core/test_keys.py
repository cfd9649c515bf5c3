"""When a key lets in."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from opscore.core.keys import (
    Key,
    KeyState,
    Origin,
    accepted,
    digest_of,
    identity_of,
    is_root,
    revoked,
    rotated,
    state_of,
    token_of,
)
from opscore.core.progress import Refused

OLD, NEW, NEWER = (digest_of(text) for text in (b"old", b"new", b"newer"))
KEY = Key("key_1", "acme", "ci", ("session:start",), None, OLD.hex(), 0, "system:opscore")


def test_a_key_is_known_by_its_hash_alone() -> None:
    assert digest_of(b"old") == sha256(b"old").digest()
    assert token_of("key_01abc", "s3cret") == "opc_01abc_s3cret"


def test_a_key_ends() -> None:
    key = replace(KEY, expires_at=10)
    assert [state_of(key, now) for now in (9, 10)] == [KeyState.LIVE, KeyState.EXPIRED]
    assert list(accepted(key)) == [(OLD, 10)]
    assert state_of(revoked(key, 5), 5) is KeyState.REVOKED
    assert list(accepted(revoked(key, 5))) == []
    assert revoked(revoked(key, 5), 7).revoked_at == 5


def test_two_texts_count_while_a_rotation_lasts_and_never_three() -> None:
    key = rotated(KEY, NEW, 100, 50)
    assert isinstance(key, Key)
    assert list(accepted(key)) == [(NEW, None), (OLD, 150)]
    again = rotated(key, NEWER, 110, 50)
    assert isinstance(again, Key)
    assert list(accepted(again)) == [(NEWER, None), (NEW, 160)]


def test_a_rotation_can_end_the_old_text_at_once() -> None:
    key = rotated(rotated_once(), NEWER, 100, 0)
    assert isinstance(key, Key)
    assert list(accepted(key)) == [(NEWER, None)]


def rotated_once() -> Key:
    key = rotated(KEY, NEW, 0, 50)
    assert isinstance(key, Key)
    return key


def test_no_text_outlives_its_key() -> None:
    key = rotated(replace(KEY, expires_at=20), NEW, 10, 50)
    assert isinstance(key, Key)
    assert list(accepted(key)) == [(NEW, 20), (OLD, 20)]


@pytest.mark.parametrize(
    "key", [revoked(KEY, 1), replace(KEY, expires_at=2), replace(KEY, origin=Origin.ENVIRONMENT)]
)
def test_what_cannot_be_rotated(key: Key) -> None:
    assert isinstance(rotated(key, NEW, 3, 1), Refused)


def test_who_comes_with_a_key() -> None:
    assert str(identity_of(KEY).actor) == "operator:key_1"
    assert identity_of(KEY).permissions == {"session:start"}
    bound = identity_of(replace(KEY, agent="scout"))
    assert (str(bound.actor), bound.agent) == ("agent:scout", "scout")


@pytest.mark.parametrize(
    ("key", "root"),
    [
        (replace(KEY, namespace="*", scopes=("admin",)), True),
        (replace(KEY, scopes=("admin",)), False),
        (replace(KEY, namespace="*", scopes=("operate",)), False),
        (replace(KEY, namespace="*", scopes=("admin",), expires_at=1), False),
        (replace(KEY, namespace="*", scopes=("admin",), revoked_at=1), False),
    ],
)
def test_what_counts_as_a_key_with_all_rights(key: Key, root: bool) -> None:
    assert is_root(key, 1) is root
