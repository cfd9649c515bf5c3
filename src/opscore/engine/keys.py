"""The verbs of API keys: make, rotate, revoke, list; and who comes with one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from opscore.core.access import (
    EVERY_NAMESPACE,
    SCOPES,
    Identity,
    beyond_binding,
    is_namespace,
    within,
)
from opscore.core.errors import Conflict, Fault, Impossible, Invalid, NotFound, Unavailable
from opscore.core.keys import (
    ID_PREFIX,
    Key,
    KeyState,
    Origin,
    digest_of,
    is_root,
    revoked,
    rotated,
    state_of,
    token_of,
)
from opscore.core.types import DEFAULT_NAMESPACE, SECOND, SYSTEM, Actor, Micros
from opscore.engine.audit import Note, always
from opscore.engine.key_requests import AddKey, AdoptKey, ChangeKey, NoteUses
from opscore.engine.key_ring import KeyRing
from opscore.engine.records import Paged
from opscore.engine.writer import Writer
from opscore.store.store import Store

DAY = 86_400
LONGEST_EXPIRY_DAYS = 3650
LONGEST_OVERLAP_DAYS = 30

log = structlog.get_logger("opscore.keys")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as people see it. `token` is its text, there only where it was just made."""

    key: Key
    state: KeyState
    last_used_at: Micros | None
    token: str | None = None


class Keys:
    """All keys of a store. Call `load` before the first verb.

    `reach` is the namespace whose keys may be seen, or `EVERY_NAMESPACE`. `secret` gives the text
    that nobody can guess: 64 hexadecimal digits.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        new_id: Callable[[str], str],
        secret: Callable[[], str],
    ) -> None:
        self._store = store
        self._writer = writer
        self._new_id = new_id
        self._secret = secret
        self._now = store.now
        self.ring = KeyRing(store.now)

    async def load(self) -> None:
        """Read the keys of the store."""
        self.ring.load(await self._store.keys())

    def verify(self, token: bytes) -> Identity | None:
        """Who comes with this text, or None. Costs no I/O."""
        return self.ring.verify(token)

    # -- verbs ------------------------------------------------------------------------------

    async def create(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        agent: str | None = None,
        expires_seconds: float | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> KeyRecord:
        """Make a key; the only time that its text is told, also to a request that comes again.

        `agent`: the name of the only agent as which it acts. Raises Invalid for a scope or a
        namespace that cannot be, Impossible for what contradicts itself.
        """
        _check(scopes, agent, namespace)
        expires_at = _within_days(expires_seconds, LONGEST_EXPIRY_DAYS, self._now())
        key, token = self._new(name, scopes, namespace, str(actor), Origin.API)
        key = replace(key, agent=agent, expires_at=expires_at)
        made = self._writer.submit(AddKey(self.ring, key), _note(actor, "key.created", key))
        return self._made(await made, token)

    def _new(
        self, name: str, scopes: Sequence[str], namespace: str, created_by: str, origin: Origin
    ) -> tuple[Key, str]:
        key_id = self._new_id(ID_PREFIX)
        token = token_of(key_id, self._secret())
        digest = digest_of(token.encode()).hex()
        chosen = tuple(scope for scope in SCOPES if scope in scopes)
        key = Key(
            key_id,
            namespace,
            name,
            chosen,
            None,
            digest,
            self._now(),
            created_by,
            origin=origin,
        )
        return key, token

    async def rotate(
        self,
        key_id: str,
        *,
        overlap_seconds: float = DAY,
        reach: str = EVERY_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> KeyRecord:
        """Give a key a new text; the old one counts for `overlap_seconds` more.

        Raises NotFound, Conflict for a key that lets nobody in, Invalid for the time.
        """
        until = _within_days(overlap_seconds, LONGEST_OVERLAP_DAYS, 0)
        token = token_of(key_id, self._secret())
        digest = digest_of(token.encode())
        command = ChangeKey(
            self.ring, key_id, reach, lambda key, now: rotated(key, digest, now, until or 0)
        )
        note = self._change_note(actor, "key.rotated", key_id, overlapSeconds=overlap_seconds)
        return self._made(await self._writer.submit(command, note), token)

    async def revoke(
        self, key_id: str, *, reach: str = EVERY_NAMESPACE, actor: Actor = SYSTEM
    ) -> KeyRecord:
        """Let nobody in with this key any more, once this returns. Raises NotFound."""
        command = ChangeKey(self.ring, key_id, reach, revoked)
        note = self._change_note(actor, "key.revoked", key_id)
        return self._record(await self._writer.submit(command, note))

    def _change_note(self, actor: Actor, action: str, key_id: str, **details: object) -> Note:
        """Refused when there is no such key, and then nothing is recorded."""
        key = self.ring.find(key_id)
        namespace = DEFAULT_NAMESPACE if key is None else key.namespace
        name = None if key is None else key.name
        return always(actor, action, namespace, key_id, name=name, **details)

    def get(self, key_id: str, *, reach: str = EVERY_NAMESPACE) -> KeyRecord:
        """One key. Raises NotFound."""
        key = self.ring.find(key_id)
        if key is None or not within(reach, key.namespace):
            raise NotFound(f"there is no key {key_id}")
        return self._record(key)

    def list(
        self, *, reach: str = EVERY_NAMESPACE, cursor: str | None = None, limit: int = 50
    ) -> Paged[KeyRecord]:
        """Keys, newest first; the cursor is the id of the last one seen."""
        seen = [key for key in reversed(self.ring.all()) if within(reach, key.namespace)]
        rest = [key for key in seen if cursor is None or key.key_id < cursor]
        page = [self._record(key) for key in rest[:limit]]
        return Paged(page, page[-1].key.key_id if len(rest) > limit else None)

    def _made(self, key: Key, token: str) -> KeyRecord:
        if key.digest != digest_of(token.encode()).hex():
            # The same request came before, and its commands are not carried out again.
            raise Conflict(
                f"this very request was carried out: it made the text of {key.key_id}, which is "
                "told once and not kept; rotate the key for another text",
                code="told_once",
            )
        return self._record(key, token)

    def _record(self, key: Key, token: str | None = None) -> KeyRecord:
        used = self.ring.last_used(key.key_id)
        return KeyRecord(key, state_of(key, self._now()), used, token)

    # -- the first key ----------------------------------------------------------------------

    async def adopt(self, text: str) -> KeyRecord:
        """Let the operator's own text (OPSCORE_API_KEY) be a key with all rights everywhere.

        The text that was set before it counts no longer.
        """
        key, _ = self._new(
            "OPSCORE_API_KEY", ("admin",), EVERY_NAMESPACE, str(SYSTEM), Origin.ENVIRONMENT
        )
        key = replace(key, digest=digest_of(text.encode()).hex())
        note = _note(SYSTEM, "key.created", key)
        found = self._record(await self._writer.submit(AdoptKey(self.ring, key), note))
        if not is_root(found.key, self._now()):
            # Known as a key with fewer rights, or revoked: that is not undone by a restart.
            log.warning("first_key_has_not_all_rights", key_id=found.key.key_id, state=found.state)
        return found

    async def first(self) -> str | None:
        """The text of a new key with all rights everywhere, when there is none; else None."""
        now = self._now()
        if any(is_root(key, now) for key in self.ring.all()):
            return None
        key, token = self._new("first", ("admin",), EVERY_NAMESPACE, str(SYSTEM), Origin.FIRST)
        await self._writer.submit(AddKey(self.ring, key), _note(SYSTEM, "key.created", key))
        return token

    async def write_uses(self) -> None:
        """Write down when keys were used last: often enough to tell which one is idle."""
        uses = self.ring.take_uses()
        if uses:
            try:
                await self._writer.submit(NoteUses(uses))
            except Unavailable as error:
                log.warning("key_uses_not_recorded", error=error.detail)


def _note(actor: Actor, action: str, key: Key) -> Note:
    return always(
        actor,
        action,
        key.namespace,
        key.key_id,
        name=key.name,
        scopes=key.scopes,
        agent=key.agent,
        origin=key.origin.value,
    )


def _check(scopes: Sequence[str], agent: str | None, namespace: str) -> None:
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        fault = Fault("/scopes", f"One or more of {', '.join(SCOPES)}")
        raise Invalid(
            f"There is no scope {unknown[0] if unknown else '(none given)'}.", faults=[fault]
        )
    if namespace != EVERY_NAMESPACE and not is_namespace(namespace):
        raise Invalid(
            "A namespace has 1 to 64 small letters, digits, '-' and '_', and begins with a letter "
            "or digit.",
            faults=[Fault("/namespace", "Not the name of a namespace")],
        )
    if agent is None:
        return
    if namespace == EVERY_NAMESPACE:
        raise Impossible(
            "A key of every namespace cannot be bound to one agent.",
            faults=[Fault("/agent", "An agent belongs to one namespace")],
        )
    beyond = beyond_binding(scopes)
    if beyond:
        raise Impossible(
            f"A key that is bound to an agent cannot have the scope {beyond[0]}.",
            faults=[Fault("/scopes", f"{beyond[0]} is more than one agent's own business")],
        )


def _within_days(seconds: float | None, days: int, start: Micros) -> Micros | None:
    """A time from `start` on; None for none. Raises Invalid for one that cannot be meant."""
    if seconds is None:
        return None
    if not 0 <= seconds <= days * DAY:
        raise Invalid(f"The time must be between 0 and {days} days.")
    return start + round(seconds * SECOND)
