"""What people and keys order is recorded: the notes that verbs give along with their commands.

A note becomes a record in the very commit of the change; a command that is refused, or that changes
nothing, leaves none. Details name what was changed and never hold what people wrote into bodies:
no inputs, no payloads, no secrets. Agents' own work is in the journal, with its actor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from opscore.core.audit import AuditEntry
from opscore.core.types import Actor
from opscore.engine.unit import Unit

_encode = msgspec.json.Encoder(order="sorted").encode
HOUSE = "system"
"""The kind of actor that is no person and no key: the server itself, or a program that embeds it."""
LONGEST_TEXT = 200

Subject: TypeAlias = "str | Callable[[Any], str | None] | None"
"""What was changed: its id, or what tells the id from the command's answer."""


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be recorded of a command."""

    action: str
    actor: Actor
    namespace: str
    subject: Subject
    details: Mapping[str, object]

    def put(self, unit: Unit, command: object, answer: object) -> None:
        """Record it with what the command changed; one that has `changed` may say: nothing."""
        if not getattr(command, "changed", True):
            return
        subject = self.subject(answer) if callable(self.subject) else self.subject
        unit.changes.audit.append(
            AuditEntry(
                unit.now,
                self.namespace,
                str(self.actor),
                self.actor.key_id,
                self.action,
                subject,
                _encode(self.details).decode(),
            )
        )


def ordered(
    actor: Actor, action: str, namespace: str, subject: Subject, **details: object
) -> Note | None:
    """A note of what a person or a key ordered; None when it was the house itself.

    Texts are cut, and what is None or empty is left out.
    """
    if actor.kind == HOUSE:
        return None
    return always(actor, action, namespace, subject, **details)


def always(actor: Actor, action: str, namespace: str, subject: Subject, **details: object) -> Note:
    """A note of what counts whoever did it, an operator's settings and files too: keys, templates."""
    return Note(action, actor, namespace, subject, _told(details))


def _told(details: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in details.items():
        if value is not None and value not in ("", ()):
            found[name] = value[:LONGEST_TEXT] if isinstance(value, str) else value
    return found
