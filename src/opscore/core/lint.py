"""Mistakes that only show when a template is looked at as a whole: wrong kinds, unknown fields.

Works from what the reader has seen, so that they are told together with all other mistakes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opscore.core.errors import Fault
from opscore.core.inference import (
    KIND_WORDS,
    UNKNOWN,
    Known,
    Missing,
    of_scalar_or_list,
    of_schema,
    walk,
)
from opscore.core.reading import SeenExpression, shortened, suggest
from opscore.core.template import Expression, Interpolated, Step, Template, Value
from opscore.core.trees import is_map, pointer

OF_STEP = Known(
    "object", {"status": Known("string"), "output": UNKNOWN, "error": UNKNOWN}, closed=True
)
OF_SESSION = Known(
    "object",
    {
        **dict.fromkeys(("id", "workflow", "version"), Known("string")),
        "priority": Known("integer"),
        "labels": Known("object"),
        "context": UNKNOWN,
    },
    closed=True,
)
OF_ERROR = Known(
    "object",
    {"class": Known("string"), "message": Known("string"), "retryAfterSeconds": UNKNOWN},
    closed=True,
)


OF_AGENT = Known(
    "object",
    {
        **dict.fromkeys(("name", "version", "state"), Known("string")),
        **dict.fromkeys(("labels", "metadata"), Known("object")),
        "free": Known("integer"),
    },
    closed=True,
)


@dataclass(frozen=True, slots=True)
class Mention:
    """A variable with the fields selected from it, and where it stands in its expression."""

    path: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Shape:
    """What an expression is before it runs.

    `path` is set when it only selects fields; `kind` is JSON Schema's word for what it gives, when
    that is certain.
    """

    mentions: tuple[Mention, ...]
    path: tuple[str, ...] | None
    kind: str | None


ShapeOf = Callable[[str], Shape | None]
"""The shape of an expression; None when it is not one."""


def no_shape(_text: str) -> Shape | None:
    """Nothing is known of any expression."""
    return None


@dataclass(slots=True)
class Findings:
    """`faults` are certain mistakes; `warnings` are what somebody should look at."""

    faults: list[Fault] = field(default_factory=list[Fault])
    warnings: list[Fault] = field(default_factory=list[Fault])


def lint(
    template: Template,
    input_schema: object,
    seen: Sequence[SeenExpression],
    shape_of: ShapeOf,
) -> Findings:
    """Look at every expression with what is known of the input and of the steps before it."""
    look = _Look(template, of_schema(input_schema), shape_of)
    found = Findings()
    for each in seen:
        shape = shape_of(each.text)
        if shape is not None:
            look.expression(each, shape, found)
            if each.truth:
                look.truth(each, shape, found)
    for step in template.steps.values():
        look.step(step, found)
    return found


class _Look:
    def __init__(self, template: Template, input: Known, shape_of: ShapeOf) -> None:
        self._template = template
        self._shape_of = shape_of
        self._known: dict[str, Known] = {
            "input": input,
            "session": OF_SESSION,
            "error": OF_ERROR,
            "agent": OF_AGENT,
            "index": Known("integer"),
        }
        self._outputs: dict[str, Known] = {}
        for name in template.order:
            self._outputs[name] = self._output_of(template.steps[name])

    def _output_of(self, step: Step) -> Known:
        """What is known of a step's output; nothing when a fallback may give something else."""
        if step.foreach is not None:
            return Known("array")
        value = written_value(step)
        return self._of_value(value) if value is not None else UNKNOWN

    def _of_value(self, value: Value) -> Known:
        return self._of_tree(value.tree)

    def _of_tree(self, tree: object) -> Known:
        """What is known of a written value: texts with expressions inside are text."""
        if isinstance(tree, Interpolated):
            return Known("string")
        if isinstance(tree, Expression):
            shape = self._shape_of(tree.text)
            return UNKNOWN if shape is None else self._of_shape(shape)
        if is_map(tree):
            fields = {name: self._of_tree(each) for name, each in tree.items()}
            return Known("object", fields, closed=True)
        return of_scalar_or_list(tree)

    def _of_shape(self, shape: Shape) -> Known:
        if shape.path is None:
            return Known(shape.kind)
        found = self._at(shape.path)
        return UNKNOWN if isinstance(found, Missing) else found

    def _at(self, path: tuple[str, ...]) -> Known | Missing:
        root, rest = path[0], path[1:]
        if root != "steps" or len(rest) < 2:
            return walk(self._known.get(root, UNKNOWN), rest)
        if rest[1] != "output":
            found = walk(OF_STEP, rest[1:])
            return _deeper(found, 1) if isinstance(found, Missing) else found
        found = walk(self._outputs.get(rest[0], UNKNOWN), rest[2:])
        return _deeper(found, 2) if isinstance(found, Missing) else found

    def expression(self, seen: SeenExpression, shape: Shape, found: Findings) -> None:
        """Every field that an expression mentions must be possible."""
        for mention in shape.mentions:
            missing = self._at(mention.path)
            if isinstance(missing, Missing):
                told = f"in '{shortened(seen.text)}': {mention.place}: {_told(mention, missing)}"
                hint = suggest(_name_of(mention, missing), missing.known.fields)
                into = found.faults if missing.certain else found.warnings
                into.append(Fault(seen.where, told, hint))

    def step(self, step: Step, found: Findings) -> None:
        """The expressions of one step must give what their place takes."""
        where = pointer("steps", step.name)
        if step.condition == "false":
            message = f"step '{step.name}' never runs: its 'if' is always false"
            found.warnings.append(Fault(f"{where}/if", message))
        self._whole(step.foreach, f"{where}/foreach", LISTS, found)
        self._whole(step.with_, f"{where}/with", MAPPINGS, found)

    def truth(self, seen: SeenExpression, shape: Shape, found: Findings) -> None:
        """A condition must give true or false."""
        kind = self._of_shape(shape).kind
        if kind not in (None, "boolean"):
            message = f"{seen.truth} gives true or false, and this gives {KIND_WORDS[kind]}"
            found.faults.append(Fault(seen.where, message, "compare it with something"))

    def _whole(
        self, value: Value | None, where: str, wanted: tuple[str, Sequence[str]], found: Findings
    ) -> None:
        """What is one expression must give one of the wanted kinds."""
        if value is None or not isinstance(value.tree, Expression):
            return
        kind = self._of_value(value).kind
        words, kinds = wanted
        if kind is not None and kind not in kinds:
            found.faults.append(Fault(where, f"{words}, and this gives {KIND_WORDS[kind]}"))


LISTS = ("foreach goes over a list or a map", ("array", "object"))
MAPPINGS = ("'with' is a mapping", ("object",))


def written_value(step: Step) -> Value | None:
    """The value of a computed step."""
    work = step.work
    return work if isinstance(work, Value) else None


def _deeper(missing: Missing, by: int) -> Missing:
    return Missing(missing.at + by, missing.known, missing.certain)


def _name_of(mention: Mention, missing: Missing) -> str:
    return mention.path[missing.at + 1]


def _told(mention: Mention, missing: Missing) -> str:
    owner = ".".join(mention.path[: missing.at + 1])
    name = _name_of(mention, missing)
    kind = missing.known.kind
    if kind not in (None, "object"):
        return f"'{owner}' is {KIND_WORDS[kind]}, it has no field '{name}'"
    known = ", ".join(list(missing.known.fields)[:20]) or "none"
    return f"'{owner}' has no field '{name}'; it has: {known}"
