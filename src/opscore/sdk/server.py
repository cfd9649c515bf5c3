"""Where the server is and how we show who we are; and how long to wait before trying again."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

DEFAULT_URL = "http://127.0.0.1:8700"
BASE = "/v1/opscore"


@dataclass(frozen=True, slots=True)
class Server:
    """An address, a key and a namespace."""

    url: str
    api_key: str | None
    namespace: str | None

    @classmethod
    def resolve(cls, url: str | None, api_key: str | None, namespace: str | None) -> Server:
        """What was given, else `OPSCORE_URL`, `OPSCORE_API_KEY` and `OPSCORE_NAMESPACE`.

        Raises `ValueError` when the address is not an http or https URL.
        """
        address = (url or os.environ.get("OPSCORE_URL") or DEFAULT_URL).rstrip("/")
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{address!r} is not the address of a server (http://host:port)")
        return cls(
            url=address,
            api_key=api_key or os.environ.get("OPSCORE_API_KEY") or None,
            namespace=namespace or os.environ.get("OPSCORE_NAMESPACE") or None,
        )

    def at(self, path: str) -> str:
        """The address of an API path (`/agent`)."""
        return f"{self.url}{BASE}{path}"

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        headers = {"User-Agent": "opscore-sdk"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if self.namespace is not None:
            headers["X-OpsCore-Namespace"] = self.namespace
        return headers


def segment(text: str) -> str:
    """An id or a name as one path segment."""
    return quote(text, safe="")


class Backoff:
    """Delays with full jitter, so that a fleet does not return in step after a server's restart.

    The n-th delay is uniform in [0, min(most, first · 2ⁿ)] seconds. Source: "Exponential backoff
    and jitter", AWS Architecture Blog, 2015.
    """

    def __init__(
        self, first: float = 0.1, most: float = 5.0, chance: random.Random | None = None
    ) -> None:
        self._first = first
        self._most = most
        self._chance = chance or random.Random()
        self._tries = 0

    def next(self) -> float:
        """The next delay in seconds."""
        bound = min(self._most, self._first * 2 ** min(self._tries, 30))
        self._tries += 1
        return self._chance.uniform(0, bound)

    def reset(self) -> None:
        """Start from the shortest delay again."""
        self._tries = 0
