"""The one way from what a user wrote to a template."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from opscore.core.errors import Fault, Invalid, Refusal
from opscore.core.lint import Findings
from opscore.core.parsing import parse
from opscore.core.template import Template
from opscore.core.trees import tree_faults
from opscore.core.types import Json
from opscore.cron import calendar_of
from opscore.documents import Document, Form, formatted, load, located
from opscore.expressions import CelExpressions
from opscore.json_schema import check_schema


def read_template(
    source: str | bytes | object, *, name: str = "template", form: Form | None = None
) -> Template:
    """Read YAML or JSON text, or a plain tree that a JSON body gave.

    `name` is what messages call the document, as a rule the file's path. Raises `Invalid` with
    every mistake as a fault (with line and column when there was text), or `TooLarge`.
    """
    document, found = _loaded(source, name, form)
    if isinstance(found, Template):
        return found
    raise _invalid(found, document, name)


def check_template(
    source: str | bytes | object,
    *,
    name: str = "template",
    review: Callable[[Template], Findings] = lambda _: Findings(),
) -> Findings:
    """Every mistake and every warning, each with line and column when there was text.

    `review` may look further at a template that can be read. Raises `Invalid` for what is not YAML
    or JSON, or `TooLarge`.
    """
    document, found = _loaded(source, name, None)
    if isinstance(found, Template):
        more = review(found)
        findings = Findings(more.faults, [*found.warnings, *more.warnings])
    else:
        findings = Findings(found)
    if document is None:
        return findings
    return Findings(located(findings.faults, document), located(findings.warnings, document))


def _loaded(
    source: object, name: str, form: Form | None
) -> tuple[Document | None, Template | list[Fault]]:
    if not isinstance(source, str | bytes):
        return None, _read(source)
    document = load(source, name=name, form=form)
    return document, _read(document.tree)


def check_file(text: str, name: str) -> dict[str, Any]:
    """What `check_template` finds in the text of a file, in the form in which the API answers it."""
    try:
        found = check_template(text, name=name)
    except Refusal as refusal:
        found = Findings(list(refusal.faults) or [Fault("", refusal.detail)])
    return {
        "valid": not found.faults,
        "errors": [_as_json(fault) for fault in found.faults],
        "warnings": [_as_json(fault) for fault in found.warnings],
    }


def _as_json(fault: Fault) -> dict[str, Any]:
    told = {"pointer": fault.pointer, "message": fault.message, "hint": fault.hint}
    return told if fault.line is None else {**told, "line": fault.line, "column": fault.column}


def definition_of(text: str, name: str) -> dict[str, Any] | str:
    """The plain tree of a template's text, or what is wrong with it."""
    try:
        template = read_template(text, name=name)
    except Refusal as refusal:
        return refusal.detail
    return msgspec.json.decode(template.source)


def canonical(tree: object) -> Json:
    """The JSON of a tree with sorted keys and no spaces: equal trees give equal bytes."""
    return msgspec.json.encode(tree, order="sorted")


def _read(tree: object) -> Template | list[Fault]:
    unsound = tree_faults(tree)
    if unsound:
        return unsound
    source = canonical(tree)
    return parse(
        tree,
        check_expression=_expressions().check,
        check_schema=check_schema,
        calendar_of=calendar_of,
        encode=canonical,
        source=source,
        digest=hashlib.sha256(source).hexdigest(),
        shape_of=_expressions().shape,
    )


@cache
def _expressions() -> CelExpressions:
    return CelExpressions()


def _invalid(faults: list[Fault], document: Document | None, name: str) -> Invalid:
    if document is not None:
        faults = located(faults, document)
    count = f"{len(faults)} mistakes" if len(faults) > 1 else "1 mistake"
    first = formatted(faults[:1], name)[0]
    return Invalid(f"the template has {count}; {first}", faults=faults)
