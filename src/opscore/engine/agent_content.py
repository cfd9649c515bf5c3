"""What people hand in about an agent, checked before anything is decided."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

import msgspec

from opscore.core.agent import Agent
from opscore.core.agent_events import AgentContent
from opscore.core.errors import Fault, Invalid, TooLarge
from opscore.outgoing.addresses import Rules
from opscore.outgoing.request import OutgoingFailed, checked_url

CHANNELS = frozenset({"stream", "http", "agentkit", "a2a", "mcp", "local"})
NAME_LENGTH = 128
ID_LENGTH = 200
MOST_IN_FLIGHT = 10_000


@dataclass(frozen=True, slots=True)
class AgentDetails:
    """What an agent says when it registers. `schemas` describe its capabilities' inputs."""

    agent_name: str
    agent_id: str | None = None
    version: str = ""
    capabilities: tuple[str, ...] = ()
    channel: str = "stream"
    contact_endpoint: str | None = None
    max_in_flight: int = 1
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    schemas: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _endpoint_faults(details: AgentDetails) -> list[Fault]:
    """An agent that we call must say where. Where its name leads is known when it is called."""
    if details.channel != "http":
        return []
    hint = "for example https://agent.example.com/tasks"
    try:
        checked_url(details.contact_endpoint or "", Rules(trusted=True))
    except OutgoingFailed as failure:
        return [Fault("/contactEndpoint", f"an agent of the channel http: {failure}", hint)]
    return []


CHANGEABLE = frozenset(f.name for f in fields(AgentDetails)) - {"agent_id"}


def checked(details: AgentDetails, limit: int, channels: Collection[str]) -> AgentContent:
    """The content of a registration. `channels`: those that are known.

    Raises Invalid with every fault, TooLarge over `limit` bytes of metadata or schemas.
    """
    faults: list[Fault] = []
    if details.agent_id is not None and not _is_word(details.agent_id, ID_LENGTH):
        faults.append(Fault("/agentId", f"an id has 1 to {ID_LENGTH} characters, none of them NUL"))
    if not _is_word(details.agent_name, NAME_LENGTH):
        message = f"a name has 1 to {NAME_LENGTH} characters, none of them NUL"
        faults.append(Fault("/agentName", message))
    for at, capability in enumerate(details.capabilities):
        if not _is_word(capability, NAME_LENGTH):
            message = f"a capability has 1 to {NAME_LENGTH} characters, none of them NUL"
            faults.append(Fault(f"/capabilities/{at}", message))
    if details.channel not in channels:
        hint = f"one of {', '.join(sorted(channels))}"
        faults.append(Fault("/channel", f"there is no channel {details.channel!r}", hint))
    faults += _endpoint_faults(details)
    if not 1 <= details.max_in_flight <= MOST_IN_FLIGHT:
        faults.append(Fault("/maxInFlight", f"between 1 and {MOST_IN_FLIGHT}"))
    if faults:
        raise Invalid(f"{faults[0].pointer}: {faults[0].message}", faults=faults)
    return AgentContent(
        agent_name=details.agent_name,
        version=details.version,
        capabilities=tuple(dict.fromkeys(details.capabilities)),
        channel=details.channel,
        contact_endpoint=details.contact_endpoint,
        max_in_flight=details.max_in_flight,
        labels=_labels(details.labels),
        metadata=plain(details.metadata, "metadata", limit),
        schemas=plain(details.schemas, "schemas", limit),
        aliases=(),
    )


def checked_changes(
    agent: Agent, changes: Mapping[str, Any], limit: int, channels: Collection[str]
) -> dict[str, Any]:
    """The fields of `changes` as the content keeps them. Raises Invalid, TooLarge."""
    unknown = sorted(set(changes) - CHANGEABLE)
    if unknown:
        raise Invalid(f"an agent has no {unknown[0]} to change")
    now = {name: getattr(agent, name) for name in CHANGEABLE}
    try:
        wanted = msgspec.convert({**now, **changes}, AgentDetails)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    content = checked(wanted, limit, channels)
    return {name: getattr(content, name) for name in changes}


def _is_word(text: str, most: int) -> bool:
    """Whether every store can hold it in a column of text."""
    return 0 < len(text) <= most and "\0" not in text


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    try:
        return msgspec.convert(dict(labels), dict[str, str])
    except msgspec.ValidationError as error:
        raise Invalid(f"labels: {error}", faults=[Fault("/labels", str(error))]) from error


def plain(value: Mapping[str, Any], what: str, limit: int) -> dict[str, Any]:
    """A JSON object as it will be read back. Raises Invalid when it is none, TooLarge."""
    try:
        text = msgspec.json.encode(value)
        found = msgspec.json.decode(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"{what} is not a JSON object: {error}") from error
    if not isinstance(found, dict):
        raise Invalid(f"{what} is not a JSON object")
    if len(text) > limit:
        raise TooLarge(f"{what} has {len(text)} bytes; the limit is {limit}")
    return cast(dict[str, Any], found)
