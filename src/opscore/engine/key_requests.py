"""The commands of the write path that concern keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opscore.core.access import within
from opscore.core.errors import NotFound
from opscore.core.keys import Key, KeyState, Origin, revoked, state_of
from opscore.core.progress import Refused
from opscore.core.types import Micros
from opscore.engine.key_ring import KeyRing
from opscore.engine.unit import Means, Unit, raise_refused
from opscore.store.rows import Wants


@dataclass(slots=True)
class AddKey:
    """Write down a new key; its id is new."""

    ring: KeyRing
    key: Key
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing but that the commit before is done: keys in memory are those committed."""
        wants.settled = True

    def apply(self, unit: Unit) -> Key:
        """Cannot be refused."""
        return self.ring.batch(unit).put(self.key)


@dataclass(slots=True)
class ChangeKey:
    """Change a key as `decide` says, which is given the key and the time."""

    ring: KeyRing
    key_id: str
    reach: str
    decide: Callable[[Key, Micros], Key | Refused]
    weight: int = 1
    changed: bool = True

    def want(self, wants: Wants, means: Means) -> None:
        """As for a new key."""
        wants.settled = True

    def apply(self, unit: Unit) -> Key:
        """The key as it is now. Raises NotFound, Conflict."""
        batch = self.ring.batch(unit)
        key = batch.find(self.key_id)
        if key is None or not within(self.reach, key.namespace):
            raise NotFound(f"there is no key {self.key_id}")
        changed = self.decide(key, unit.now)
        if isinstance(changed, Refused):
            raise_refused(changed)
            return key
        self.changed = changed is not key
        return batch.put(changed) if self.changed else key


@dataclass(slots=True)
class AdoptKey:
    """Let the text that an operator set for this server count, and the one set before no longer.

    A text that is known, be it revoked, changes nothing: a revocation outlives restarts.
    """

    ring: KeyRing
    key: Key
    weight: int = 1
    changed: bool = True

    def want(self, wants: Wants, means: Means) -> None:
        """As for a new key."""
        wants.settled = True

    def apply(self, unit: Unit) -> Key:
        """The key that has this text."""
        batch = self.ring.batch(unit)
        for key in batch.all():
            if self.key.digest in (key.digest, key.previous):
                self.changed = False
                return key
        for key in batch.all():
            if key.origin is Origin.ENVIRONMENT and state_of(key, unit.now) is KeyState.LIVE:
                batch.put(revoked(key, unit.now))
        return batch.put(self.key)


@dataclass(slots=True)
class NoteUses:
    """Write down when keys were used last."""

    uses: Mapping[str, Micros]
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing."""

    def apply(self, unit: Unit) -> None:
        """Cannot be refused."""
        unit.changes.key_uses.update(self.uses)
