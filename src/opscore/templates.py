"""The one way from what a user wrote to a template."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache

import msgspec

from opscore.core.errors import Fault, Invalid
from opscore.core.parsing import parse
from opscore.core.template import Template
from opscore.core.trees import is_map, tree_faults
from opscore.core.types import Json
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
    if isinstance(source, str | bytes):
        document = load(source, name=name, form=form)
        faults_or_template = _read(document.tree)
    else:
        document, faults_or_template = None, _read(source)
    if isinstance(faults_or_template, Template):
        return faults_or_template
    raise _invalid(faults_or_template, document, name)


def canonical(tree: object) -> Json:
    """The JSON of a tree with sorted keys and no spaces: equal trees give equal bytes."""
    return msgspec.json.encode(tree, order="sorted")


def _read(tree: object) -> Template | list[Fault]:
    unsound = tree_faults(tree)
    if unsound:
        return unsound
    source = canonical(tree)
    template = parse(
        tree,
        check_expression=_expressions().check,
        encode=canonical,
        source=source,
        digest=hashlib.sha256(source).hexdigest(),
        shape_of=_expressions().shape,
    )
    schema = tree.get("input") if is_map(tree) and "tasks" not in tree else None
    if not is_map(schema):
        return template
    wrong = [replace(each, pointer="/input" + each.pointer) for each in check_schema(schema)]
    if not wrong:
        return template
    return [*wrong, *([] if isinstance(template, Template) else template)]


@cache
def _expressions() -> CelExpressions:
    return CelExpressions()


def _invalid(faults: list[Fault], document: Document | None, name: str) -> Invalid:
    if document is not None:
        faults = located(faults, document)
    count = f"{len(faults)} mistakes" if len(faults) > 1 else "1 mistake"
    first = formatted(faults[:1], name)[0]
    return Invalid(f"the template has {count}; {first}", faults=faults)
