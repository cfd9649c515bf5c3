"""Who gets in: the seam between a request and the rules of `core/access.py`. Deny by default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from opscore.api.limits import Shares
from opscore.api.settings import is_loopback
from opscore.core.access import (
    EVERY_NAMESPACE,
    PERMISSIONS,
    Denied,
    Identity,
    Permission,
    Principal,
    decide,
    is_namespace,
    permissions_of,
)
from opscore.core.errors import Forbidden, Invalid, Refusal
from opscore.core.types import DEFAULT_NAMESPACE, Actor
from opscore.engine.bindings import Bindings
from opscore.engine.keys import Keys

__all__ = ["PERMISSIONS", "Access", "Forbidden", "Permission", "Principal", "Unauthenticated"]

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:\d{1,5})?")
ANYBODY = Principal(Actor("operator", "anonymous"), DEFAULT_NAMESPACE, frozenset())


class Unauthenticated(Refusal):
    """No key, or a wrong one."""

    code, status = "unauthenticated", 401


class Who(Protocol):
    """Answers "who is this?" for one way of proving it.

    A key today. A token of an identity provider would be another class here, and its roles a table
    in front of `GRANTS`; nothing behind the identity would change.
    """

    def identify(self, scope: Mapping[str, Any]) -> Identity:
        """Whose credentials came with an ASGI scope. Raises `Unauthenticated` or `Forbidden`.

        It must not wait: what it needs (keys, a provider's signing keys) is in memory.
        """
        ...


class KeyHolders:
    """Whoever shows a key: `Authorization: Bearer KEY`, and nowhere else."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def identify(self, scope: Mapping[str, Any]) -> Identity:
        """See `Who`."""
        found = self._keys.verify(bearer(scope["headers"]))
        if found is None:
            raise Unauthenticated("The key is not valid.")
        return found


class ThisMachine:
    """Development: whoever is on this machine, with all rights."""

    _developer = Identity(
        Actor("operator", "development"), EVERY_NAMESPACE, permissions_of(["admin"])
    )

    def identify(self, scope: Mapping[str, Any]) -> Identity:
        """See `Who`."""
        check_local(scope)
        return self._developer


class Access:
    """What every request has to pass."""

    def __init__(self, who: Who, bindings: Bindings, shares: Shares) -> None:
        self._who = who
        self._bindings = bindings
        self.shares = shares

    def allow(self, scope: Mapping[str, Any], permission: str) -> Principal:
        """Let a request through that has `permission`, and acts only as the agent that it may.

        Raises `Unauthenticated`, `Forbidden`, `TooMany`, or `Invalid` for a namespace that cannot
        be.
        """
        if permission == "public":
            return ANYBODY
        identity = self._who.identify(scope)
        if identity.key_id is not None:
            self.shares.take(identity.key_id)
        found = decide(identity, permission, namespace_of(scope["headers"]))
        if isinstance(found, Denied):
            raise Forbidden(found.detail)
        if found.agent is not None:
            named = scope["path_params"].get("agentId")
            if named is not None:
                self._bindings.check(found.agent, found.namespace, named)
        return found


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The one key that was sent. Raises `Unauthenticated`."""
    sent = [value for name, value in headers if name == b"authorization"]
    if not sent:
        raise Unauthenticated("Send the key as `Authorization: Bearer <key>`.")
    scheme, _, given = sent[0].partition(b" ")
    if len(sent) > 1 or scheme.lower() != b"bearer":
        raise Unauthenticated("Send one key, as `Authorization: Bearer <key>`.")
    return given.strip()


def namespace_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The namespace that a request names. Raises `Invalid`."""
    for name, value in headers:
        if name == b"x-opscore-namespace":
            given = value.decode("latin-1")
            if not is_namespace(given):
                raise Invalid(
                    "X-OpsCore-Namespace must be 1 to 64 small letters, digits, '-' and '_', "
                    "beginning with a letter or digit."
                )
            return given
    return None


def check_local(scope: Mapping[str, Any]) -> None:
    """Development mode: the peer, the `Host` and the `Origin` must all be this machine.

    `Host` guards against DNS rebinding, `Origin` against web pages that post to loopback or open a
    WebSocket there, which no same-origin rule prevents. Raises `Forbidden`.
    """
    client = scope.get("client")
    if client is not None and not is_loopback(client[0]):
        raise Forbidden("Development mode answers this machine only.", code="not_local")
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not _is_local_host(hosts[0]):
        raise Forbidden("The Host header does not name this machine.", code="host_refused")
    for name, value in headers:
        if name == b"origin" and not _is_local_origin(value.decode("latin-1")):
            raise Forbidden("Requests from other origins are refused.", code="origin_refused")


def _is_local_host(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["name"].strip("[]"))


def _is_local_origin(origin: str) -> bool:
    scheme, separator, host = origin.partition("://")
    return bool(separator) and scheme in {"http", "https"} and _is_local_host(host)
