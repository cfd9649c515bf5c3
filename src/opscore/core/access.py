"""Who may do what: scope × permission × namespace → allow or deny. Pure; the tables are the rule.

A *permission* is what a route declares that it needs. A *scope* is what a key was given; `GRANTS`
says which permissions a scope has. Roles of people will be a table in front of this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias, get_args

from opscore.core.record import record
from opscore.core.types import DEFAULT_NAMESPACE, Actor

Scope: TypeAlias = Literal[
    "agent:report", "agent:work", "session:start", "session:read", "operate", "admin"
]
Permission: TypeAlias = Literal[
    "public",
    "agent:report",
    "agent:register",
    "agent:work",
    "session:start",
    "session:read",
    "operate",
    "admin",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PERMISSIONS: frozenset[str] = frozenset(get_args(Permission))

GRANTS: Mapping[str, frozenset[str]] = {
    "agent:report": frozenset({"agent:report"}),
    # Whoever works also says how it is, and has to register before anything else.
    "agent:work": frozenset({"agent:work", "agent:report", "agent:register"}),
    "session:start": frozenset({"session:start"}),
    "session:read": frozenset({"session:read"}),
    # An operator steers what it sees, and runs things again.
    "operate": frozenset({"operate", "session:read", "session:start", "agent:register"}),
    "admin": PERMISSIONS - {"public"},
}
"""Which permissions a scope has. What is not listed is denied."""

BINDABLE: frozenset[str] = frozenset(
    {"agent:report", "agent:work", "session:start", "session:read"}
)
"""The scopes of a key that is bound to one agent: nothing by which it could rule others."""

EVERY_NAMESPACE = "*"
"""The reach of credentials that may name any namespace."""

_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@record
class Identity:
    """Whose credentials came with a request.

    `namespace` is where they count (`EVERY_NAMESPACE`: anywhere); `agent` is the name of the only
    agent as which they act; `key_id` is the key, where they are one.
    """

    actor: Actor
    namespace: str
    permissions: frozenset[str]
    agent: str | None = None
    key_id: str | None = None


@record
class Principal:
    """An identity at work in one namespace.

    `reach` is `EVERY_NAMESPACE` when it could have named any namespace and named none.
    """

    actor: Actor
    namespace: str
    permissions: frozenset[str]
    agent: str | None = None
    key_id: str | None = None
    reach: str = DEFAULT_NAMESPACE


@record
class Denied:
    """Why not."""

    detail: str


def permissions_of(scopes: Iterable[str]) -> frozenset[str]:
    """Everything that the scopes grant together; an unknown scope grants nothing."""
    return frozenset[str]().union(*(GRANTS.get(scope, ()) for scope in scopes))


def is_namespace(text: str) -> bool:
    """Whether a namespace can have this name."""
    return _NAMESPACE.fullmatch(text) is not None


def decide(identity: Identity, permission: str, named: str | None) -> Principal | Denied:
    """May this identity do what needs `permission`, in the namespace that it `named` (or its own)?

    `public` is not asked for here: nobody needs an identity for it.
    """
    if permission not in identity.permissions:
        return Denied(f"This needs the right `{permission}`.")
    everywhere = identity.namespace == EVERY_NAMESPACE
    if not everywhere and named not in (None, identity.namespace):
        return Denied("This key belongs to another namespace.")
    namespace = named or (DEFAULT_NAMESPACE if everywhere else identity.namespace)
    return Principal(
        identity.actor,
        namespace,
        identity.permissions,
        identity.agent,
        identity.key_id,
        EVERY_NAMESPACE if everywhere and named is None else namespace,
    )


def may_act_as(bound: str | None, agent_id: str, agent_name: str | None) -> bool:
    """May credentials that are bound to the agent named `bound` act as this agent?

    `agent_name` is None while no agent has that id: then the id must be the name, which is what
    an agent that reports before it was registered is called. None as `bound`: not bound at all.
    """
    return bound is None or bound == (agent_id if agent_name is None else agent_name)


def beyond_binding(scopes: Iterable[str]) -> list[str]:
    """Those of the scopes that a key bound to an agent cannot have."""
    return [scope for scope in scopes if scope not in BINDABLE]


def within(reach: str, namespace: str) -> bool:
    """Whether something of `namespace` may be seen by whoever has this reach."""
    return reach in (EVERY_NAMESPACE, namespace)
