"""Documents that users write: text in, plain tree with positions out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from opscore.core.errors import Fault, TooLarge
from opscore.documents.build import Place, Position, refuse
from opscore.documents.from_json import read_json
from opscore.documents.from_yaml import read_yaml

__all__ = ["Document", "Form", "formatted", "load", "located"]

MAX_BYTES = 1024 * 1024
Form = Literal["yaml", "json"]
_JSON_OBJECT = re.compile(r'\s*(?:\{\s*["}]|\[)')


@dataclass(frozen=True, slots=True)
class Document:
    """A plain tree, the name it was given (a file's path, as a rule) and where its nodes stand."""

    name: str
    tree: object
    place: Place

    def position(self, where: str, *, at_key: bool = False) -> Position:
        """Line and column of an RFC 6901 pointer.

        That of the value; for lists and mappings below a key, and with `at_key`, that of the key.
        A pointer to something that is not there gives its nearest parent.
        """
        place, best = self.place, self.place.at
        parts = [_unescaped(part) for part in where.split("/")[1:]]
        for part in parts:
            key, child = place.keys.get(part), place.children.get(part)
            if child is None:
                return key or best
            whole = bool(child.keys or child.children)
            best = key if key and (whole or (at_key and part is parts[-1])) else child.at
            place = child
        return best


def load(text: str | bytes, *, name: str, form: Form | None = None) -> Document:
    """Read YAML 1.2 or JSON of at most 1 MiB.

    Without `form` the ending of the name decides, then the first characters. Raises `Invalid` with
    line and column, or `TooLarge`.
    """
    decoded = _decoded(text)
    form = form or _form_of(name, decoded)
    built = read_json(decoded) if form == "json" else read_yaml(decoded)
    return Document(name, built.tree, built.place)


def located(faults: Iterable[Fault], document: Document) -> list[Fault]:
    """The faults with line and column, in the order of the document."""
    found = [fault if fault.line is not None else _located(fault, document) for fault in faults]
    return sorted(found, key=lambda fault: (fault.line or 0, fault.column or 0))


def formatted(faults: Sequence[Fault], name: str) -> list[str]:
    """`FILE:LINE:COLUMN: message (hint)`, one line for each fault."""
    return [_formatted(fault, name) for fault in faults]


def _located(fault: Fault, document: Document) -> Fault:
    line, column = document.position(fault.pointer, at_key=fault.at_key)
    return replace(fault, line=line, column=column)


def _formatted(fault: Fault, name: str) -> str:
    place = f"{name}:{fault.line}:{fault.column}" if fault.line is not None else name
    if fault.line is None and fault.pointer:
        place = f"{name}: {fault.pointer}"
    hint = f" ({fault.hint})" if fault.hint else ""
    return f"{place}: {fault.message}{hint}"


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _form_of(name: str, text: str) -> Form:
    ending = name.rpartition(".")[2].lower()
    if ending == "json":
        return "json"
    if ending in ("yaml", "yml"):
        return "yaml"
    return "json" if _JSON_OBJECT.match(text) else "yaml"


def _decoded(text: str | bytes) -> str:
    size = len(text) if isinstance(text, bytes) else _utf8_length(text)
    if size > MAX_BYTES:
        raise TooLarge(f"the document has {size} bytes; at most {MAX_BYTES} are read")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            before = text[: error.start].decode("utf-8")
            at = (before.count("\n") + 1, len(before) - before.rfind("\n"))
            refuse(f"not UTF-8: byte 0x{text[error.start]:02x}", at, "save the file as UTF-8")
    return text.removeprefix("\ufeff")


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
