"""Who may do what: the table is written here a second time, by hand."""

from __future__ import annotations

from typing import get_args

import pytest

from opscore.core.access import (
    BINDABLE,
    EVERY_NAMESPACE,
    GRANTS,
    PERMISSIONS,
    SCOPES,
    Denied,
    Identity,
    Principal,
    beyond_binding,
    decide,
    is_namespace,
    may_act_as,
    permissions_of,
    within,
)
from opscore.core.types import Actor
from opscore.wire.key import ScopeWord

ALLOWED = {
    "agent:report": "agent:report",
    "agent:work": "agent:report agent:register agent:work",
    "session:start": "session:start",
    "session:read": "session:read",
    "operate": "agent:register session:start session:read operate",
    "admin": "agent:report agent:register agent:work session:start session:read operate admin",
}
WHO = Actor("operator", "key_1")


def identity(*scopes: str, namespace: str = "acme", agent: str | None = None) -> Identity:
    return Identity(WHO, namespace, permissions_of(scopes), agent, "key_1")


def test_every_scope_is_in_the_table_and_on_the_wire() -> None:
    assert set(GRANTS) == set(SCOPES) == set(ALLOWED) == set(get_args(ScopeWord))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("permission", sorted(PERMISSIONS))
def test_a_scope_allows_what_the_table_says_and_nothing_else(scope: str, permission: str) -> None:
    found = decide(identity(scope), permission, None)
    assert isinstance(found, Principal) == (permission in ALLOWED[scope].split())


def test_scopes_add_up_and_unknown_ones_grant_nothing() -> None:
    assert permissions_of(["session:start", "session:read"]) == {"session:start", "session:read"}
    assert permissions_of([]) == permissions_of(["root", "*", ""]) == frozenset()


@pytest.mark.parametrize(
    ("own", "named", "given", "reach"),
    [
        ("acme", None, "acme", "acme"),
        ("acme", "acme", "acme", "acme"),
        ("acme", "other", None, None),
        (EVERY_NAMESPACE, None, "default", EVERY_NAMESPACE),
        (EVERY_NAMESPACE, "other", "other", "other"),
    ],
)
def test_a_namespace_is_ones_own(
    own: str, named: str | None, given: str | None, reach: str | None
) -> None:
    found = decide(identity("admin", namespace=own), "operate", named)
    if given is None:
        assert isinstance(found, Denied)
    else:
        assert isinstance(found, Principal)
        assert (found.namespace, found.reach, found.actor) == (given, reach, WHO)


def test_the_agent_and_the_key_go_along() -> None:
    found = decide(identity("agent:work", agent="a"), "agent:work", None)
    assert isinstance(found, Principal)
    assert (found.agent, found.key_id) == ("a", "key_1")


@pytest.mark.parametrize(
    ("bound", "agent_id", "agent_name", "may"),
    [
        (None, "anything", None, True),
        (None, "agt_1", "b", True),
        ("a", "agt_1", "a", True),
        ("a", "agt_1", "b", False),
        ("a", "a", None, True),
        ("a", "a", "b", False),  # an id of another agent that reads like the name
        ("a", "agt_1", None, False),
    ],
)
def test_a_binding_is_to_one_agent(
    bound: str | None, agent_id: str, agent_name: str | None, may: bool
) -> None:
    assert may_act_as(bound, agent_id, agent_name) is may


def test_what_a_bound_key_cannot_have() -> None:
    assert beyond_binding(SCOPES) == ["operate", "admin"]
    assert not beyond_binding(BINDABLE)


@pytest.mark.parametrize("text", ["a", "0", "acme-1_x", "a" * 64])
def test_names_of_namespaces(text: str) -> None:
    assert is_namespace(text)


@pytest.mark.parametrize("text", ["", "*", "-a", "_a", "A", "a b", "a/b", "ä", "a" * 65, "a\n"])
def test_what_is_no_name_of_a_namespace(text: str) -> None:
    assert not is_namespace(text)


def test_what_lies_within_a_reach() -> None:
    assert within("a", "a") and within(EVERY_NAMESPACE, "a")
    assert within(EVERY_NAMESPACE, EVERY_NAMESPACE)
    assert not within("a", "b") and not within("a", EVERY_NAMESPACE)
