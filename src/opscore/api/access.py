"""Who may do what: one key with full rights, or development mode on loopback. Deny by default."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from opscore.api.settings import ServerSettings, is_loopback
from opscore.core.errors import Invalid, Refusal
from opscore.core.types import DEFAULT_NAMESPACE, Actor

Permission = Literal[
    "public", "agent:work", "agent:report", "session:start", "session:read", "operate", "admin"
]
PERMISSIONS: frozenset[str] = frozenset(get_args(Permission))
ALL_SCOPES = PERMISSIONS - {"public"}

_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:\d{1,5})?")


class Unauthenticated(Refusal):
    """No key, or a wrong one."""

    code, status = "unauthenticated", 401


class Forbidden(Refusal):
    """Known, but not allowed."""

    code, status = "forbidden", 403


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever sends a request: the name for the journal, the tenant, the rights."""

    actor: Actor
    namespace: str
    scopes: frozenset[str]


ANYBODY = Principal(Actor("operator", "anonymous"), DEFAULT_NAMESPACE, frozenset())


class Access:
    """Authenticates requests. The one seam behind which keys with fewer rights will come."""

    def __init__(self, settings: ServerSettings) -> None:
        key = settings.api_key
        self._key = key.encode() if key is not None else None
        self._actor = Actor("operator", "api-key" if key is not None else "development")

    def authenticate(self, scope: Mapping[str, Any]) -> Principal:
        """The principal of an ASGI scope. Raises `Unauthenticated` or `Forbidden`."""
        if self._key is None:
            check_local(scope)
        else:
            self._check_key(scope["headers"], self._key)
        return Principal(self._actor, namespace_of(scope["headers"]), ALL_SCOPES)

    def allow(self, scope: Mapping[str, Any], permission: str) -> Principal:
        """Let a request through that has `permission`. Raises `Unauthenticated` or `Forbidden`."""
        if permission == "public":
            return ANYBODY
        principal = self.authenticate(scope)
        if permission not in principal.scopes:
            raise Forbidden(f"This needs the right `{permission}`.")
        return principal

    def _check_key(self, headers: Iterable[tuple[bytes, bytes]], key: bytes) -> None:
        sent = [value for name, value in headers if name == b"authorization"]
        if not sent:
            raise Unauthenticated("Send the key as `Authorization: Bearer <key>`.")
        scheme, _, given = sent[0].partition(b" ")
        # Compared in constant time, so that the time taken tells nothing about the key.
        fits = hmac.compare_digest(given.strip(), key)
        if len(sent) > 1 or scheme.lower() != b"bearer" or not fits:
            raise Unauthenticated("The key is not valid.")


def namespace_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The namespace that a request names, or the default one. Raises `Invalid`."""
    for name, value in headers:
        if name == b"x-opscore-namespace":
            given = value.decode("latin-1")
            if not _NAMESPACE.fullmatch(given):
                raise Invalid(
                    "X-OpsCore-Namespace must be 1 to 64 small letters, digits, '-' and '_', "
                    "beginning with a letter or digit."
                )
            return given
    return DEFAULT_NAMESPACE


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
