"""What a server needs to know besides the engine."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache

from opscore.core.errors import OpsCoreError

MIN_KEY_LENGTH = 32


class SettingsRefused(OpsCoreError):
    """The server must not start like this; the text says what to do."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a server listens, whom it lets in, and how much it reads.

    `api_key` is a text that the operator chose as a key with all rights; `development` asks for no
    key at all and answers this machine only. `body_limit` is in bytes; `head_seconds` and `body_seconds` bound the time that the head and the
    body of a request may take; `key_requests` (a second) and `key_connections` are the share of one
    key, `connections` bounds all together (None: what the system allows); `depth_limit` bounds the
    nesting of any JSON, `stop_seconds` a graceful stop. `webhook_secret` is the one with which
    AgentKit signs, `agentkit_url` where it is.
    """

    host: str = "127.0.0.1"
    port: int = 8700
    api_key: str | None = field(default=None, repr=False)
    development: bool = False
    body_limit: int = 1024 * 1024
    head_seconds: float = 30.0
    body_seconds: float = 30.0
    depth_limit: int = 128
    stop_seconds: float = 10.0
    key_requests: int = 10_000
    key_connections: int = 20_000
    connections: int | None = None
    access_log: bool = False
    webhook_secret: str | None = field(default=None, repr=False)
    agentkit_url: str | None = None

    def check(self) -> None:
        """Refuse what would leave the door open. Raises `SettingsRefused`."""
        if self.api_key is not None and len(self.api_key) < MIN_KEY_LENGTH:
            raise SettingsRefused(f"OPSCORE_API_KEY must have {MIN_KEY_LENGTH} characters or more.")
        if self.development and not is_loopback(self.host):
            raise SettingsRefused(
                f"Development mode asks for no key, so it listens on loopback only, not on "
                f"{self.host}. Start without it (opscore serve) to listen elsewhere."
            )


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name or address (without port or brackets) means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
