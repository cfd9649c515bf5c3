"""The mocks file: what agents answer, what people send, and what shall come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from opscore.core.errors import Invalid
from opscore.core.expressions import ExpressionScope
from opscore.core.reading import Reader
from opscore.core.template import Value
from opscore.core.trees import is_list, is_map, kind_of, pointer, tree_faults
from opscore.core.types import SECOND, ErrorInfo, Json, Micros
from opscore.documents import formatted, load, located
from opscore.expressions import CelExpressions
from opscore.json_schema import check_schema
from opscore.rehearsal.people import (
    DecisionMock,
    SignalMock,
    after_of,
    read_approvals,
    read_signals,
)
from opscore.templates import canonical

CASE_KEYS = (
    *("input", "context", "priority", "labels", "start", "steps", "capabilities"),
    *("agents", "nobody", "signals", "approvals", "env", "expect"),
)
FILE_KEYS = (*CASE_KEYS, "workflows", "cases")
ANSWER_KEYS = ("output", "error", "message", "retryAfterSeconds", "silent", "after")
AGENT_KEYS = ("name", "capabilities", "labels", "slots", "version", "metadata")
EXPECT_KEYS = (
    *("status", "output", "error", "steps", "attempts", "inputs", "within", "sessions"),
    "waitingFor",
)
SEES_INPUT = ExpressionScope(frozenset({"input"}))
DEFAULT_START = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a mocked agent answers to one attempt, `after` so long; nothing when `silent`."""

    output: Value | None = None
    error: ErrorInfo | None = None
    after: Micros = 0
    silent: bool = False


@dataclass(frozen=True, slots=True)
class AgentMock:
    """An agent of which the case wants to say more than what it can do."""

    name: str
    capabilities: tuple[str, ...]
    labels: Mapping[str, str]
    slots: int
    version: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Expected:
    """What shall come of it; keys that the file does not have are not in `said`."""

    said: Mapping[str, object]
    within: Micros | None = None

    @property
    def status(self) -> str:
        return str(self.said.get("status", "completed"))


@dataclass(frozen=True, slots=True)
class Case:
    """One rehearsal."""

    name: str = ""
    input: Json = b"{}"
    context: Json = b"{}"
    priority: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    start: Micros = 0
    steps: Mapping[str, tuple[Answer, ...]] = field(default_factory=dict[str, tuple[Answer, ...]])
    capabilities: Mapping[str, tuple[Answer, ...]] = field(
        default_factory=dict[str, tuple[Answer, ...]]
    )
    agents: tuple[AgentMock, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    signals: tuple[SignalMock, ...] = ()
    approvals: Mapping[str, tuple[DecisionMock, ...]] = field(
        default_factory=dict[str, tuple[DecisionMock, ...]]
    )
    nobody: frozenset[str] = frozenset()
    expected: Expected = field(default_factory=lambda: Expected({}))

    @property
    def some_silent(self) -> bool:
        """Whether an agent goes silent, so that leases must be as short as in earnest."""
        answers = [*self.steps.values(), *self.capabilities.values()]
        return any(answer.silent for each in answers for answer in each)


def read_mocks(text: str, name: str) -> tuple[list[Case], list[str]]:
    """The cases of a mocks file, and the files of the workflows that they may start.

    Raises `Invalid` with every mistake, each with line and column.
    """
    document = load(text, name=name)
    reader = Reader(CelExpressions().check, check_schema, canonical, tree_faults(document.tree))
    cases: list[Case] = []
    files: list[str] = []
    if not reader.faults:
        tree = reader.mapping(document.tree, "", "a mocks file") or {}
        reader.known_keys(tree, "", FILE_KEYS)
        files = _files(reader, tree)
        cases = _Mocks(reader).cases(tree)
    if reader.faults:
        faults = located(reader.faults, document)
        raise Invalid(formatted(faults[:1], name)[0], faults=faults)
    return cases, files


def _files(reader: Reader, tree: Mapping[str, object]) -> list[str]:
    if "workflows" not in tree:
        return []
    return [each for each, _ in reader.strings(tree["workflows"], "/workflows", "a file")]


@dataclass(slots=True)
class _Mocks:
    reader: Reader

    def cases(self, tree: Mapping[str, object]) -> list[Case]:
        common = {key: each for key, each in tree.items() if key in CASE_KEYS}
        if "cases" not in tree:
            return [self._case("", common, "", common)]
        named = self.reader.mapping(tree["cases"], "/cases", "cases") or {}
        if not named:
            self.reader.fault("/cases", "there is no case", "give each case a name")
        found: list[Case] = []
        for name, node in named.items():
            where = pointer("cases", name)
            own = self.reader.mapping(node, where, f"case '{name[:60]}'")
            if own is not None:
                self.reader.known_keys(own, where, CASE_KEYS)
                found.append(self._case(name, {**common, **own}, where, own))
        return found

    def _case(
        self, name: str, node: Mapping[str, object], where: str, own: Mapping[str, object]
    ) -> Case:
        def at(key: str) -> str:
            return (where if key in own else "") + pointer(key)

        return Case(
            name=name,
            input=_encoded(node.get("input", {})),
            context=_encoded(node.get("context", {})),
            priority=self.reader.integer(node["priority"], at("priority"), "priority", 0, 100)
            if "priority" in node
            else None,
            labels=self.reader.labels(node["labels"], at("labels")) if "labels" in node else {},
            start=self._time(node.get("start", DEFAULT_START), at("start")),
            steps=self._answers_by_name(node, "steps", at("steps")),
            capabilities=self._answers_by_name(node, "capabilities", at("capabilities")),
            agents=self._agents(node, at("agents")),
            env=self.reader.labels(node.get("env", {}), at("env")),
            signals=read_signals(self.reader, node.get("signals", []), at("signals")),
            approvals=read_approvals(self.reader, node.get("approvals", {}), at("approvals")),
            nobody=frozenset(
                each
                for each, _ in self.reader.strings(
                    node.get("nobody", []), at("nobody"), "a capability"
                )
            ),
            expected=self._expected(node, at("expect")),
        )

    def _time(self, node: object, where: str) -> Micros:
        text = self.reader.text(node, where, "start")
        try:
            time = datetime.fromisoformat(text or DEFAULT_START)
        except ValueError:
            self.reader.fault(where, f"'{text}' is not a time", f"for example {DEFAULT_START}")
            return 0
        if time.tzinfo is None:
            self.reader.fault(where, "start has no time zone", "end it with Z for UTC")
            return 0
        return round((time - datetime.fromtimestamp(0, UTC)).total_seconds()) * SECOND

    def _answers_by_name(
        self, node: Mapping[str, object], key: str, where: str
    ) -> dict[str, tuple[Answer, ...]]:
        found = self.reader.mapping(node.get(key, {}), where, key) or {}
        return {name: self._answers(each, where + pointer(name)) for name, each in found.items()}

    def _answers(self, node: object, where: str) -> tuple[Answer, ...]:
        nodes = [(node, where)]
        if is_list(node):
            nodes = [(each, f"{where}/{at}") for at, each in enumerate(node)]
        if not nodes:
            self.reader.fault(where, "there is no answer", "for example [{output: null}]")
        return tuple(self._answer(each, place) for each, place in nodes)

    def _answer(self, node: object, where: str) -> Answer:
        found = self.reader.mapping(node, where, "an answer")
        if found is None:
            return Answer()
        self.reader.known_keys(found, where, ANSWER_KEYS)
        kinds = [key for key in ("output", "error", "silent") if key in found]
        if len(kinds) != 1:
            self.reader.fault(where, "an answer is exactly one of output, error, silent")
        return Answer(
            output=self.reader.value(found["output"], f"{where}/output", SEES_INPUT)
            if kinds == ["output"]
            else None,
            error=self._error(found, where) if kinds == ["error"] else None,
            after=after_of(self.reader, found, where),
            silent=kinds == ["silent"],
        )

    def _error(self, node: Mapping[str, object], where: str) -> ErrorInfo:
        word = self.reader.name(node["error"], f"{where}/error", "error (a class)") or ""
        message = self.reader.text(node.get("message", "mocked"), f"{where}/message", "message")
        wait = node.get("retryAfterSeconds")
        if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float)):
            self.reader.fault(
                f"{where}/retryAfterSeconds",
                f"retryAfterSeconds must be a number, not {kind_of(wait)}",
            )
            wait = None
        return ErrorInfo(word, message or "", None if wait is None else round(wait * SECOND))

    def _list(self, node: Mapping[str, object], key: str, where: str) -> list[object]:
        found = node.get(key, [])
        if is_list(found):
            return found
        self.reader.fault(where, f"{key} must be a list, not {kind_of(found)}")
        return []

    def _agents(self, node: Mapping[str, object], where: str) -> tuple[AgentMock, ...]:
        found: list[AgentMock] = []
        for at, each in enumerate(self._list(node, "agents", where)):
            place = f"{where}/{at}"
            agent = self.reader.mapping(each, place, "an agent") or {}
            self.reader.known_keys(agent, place, AGENT_KEYS)
            name = self.reader.name(agent.get("name"), f"{place}/name", "name") or ""
            can = self.reader.strings(
                agent.get("capabilities", []), f"{place}/capabilities", "a capability"
            )
            slots = self.reader.integer(agent.get("slots", 1), f"{place}/slots", "slots", 1)
            labels = self.reader.labels(agent.get("labels", {}), f"{place}/labels")
            version = self.reader.text(agent.get("version", ""), f"{place}/version", "version")
            metadata = self.reader.mapping(
                agent.get("metadata", {}), f"{place}/metadata", "metadata"
            )
            names = tuple(each for each, _ in can)
            found.append(AgentMock(name, names, labels, slots or 1, version or "", metadata or {}))
        return tuple(found)

    def _expected(self, node: Mapping[str, object], where: str) -> Expected:
        said = self.reader.mapping(node.get("expect", {}), where, "expect") or {}
        self.reader.known_keys(said, where, EXPECT_KEYS)
        for key in ("steps", "attempts", "inputs", "sessions"):
            if key in said and not is_map(said[key]):
                self.reader.fault(f"{where}/{key}", f"'{key}' must be a mapping by name")
        within = None
        if "within" in said:
            within = self.reader.duration(said["within"], f"{where}/within", "within")
        return Expected(said, within)


def _encoded(node: object) -> Json:
    return msgspec.Raw(msgspec.json.encode(node))
