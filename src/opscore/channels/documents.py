"""Reading JSON that strangers wrote: errors with pointers, bounded nesting, checked payloads."""

from __future__ import annotations

import re

import msgspec

from opscore.core.errors import Fault, Invalid

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)
_BYTE = re.compile(r"\(byte (\d+)\)")
_FIELD = re.compile(r"^Object (?:missing required|contains unknown) field `(.*)`$", re.DOTALL)
_PART = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_decode_any = msgspec.json.Decoder().decode


def refused_value(error: msgspec.ValidationError, prefix: str = "") -> Invalid:
    """A refusal from msgspec's words: "… - at `$.steps[0]`" becomes the pointer `/steps/0`."""
    match = _AT.match(str(error))
    assert match is not None
    what, pointer = match["what"], prefix + pointer_of(match["path"] or "$")
    named = _FIELD.match(what)
    if named is not None:
        pointer += f"/{escape(named[1])}"
    where = pointer or "the top"
    return Invalid(f"{what} (at {where}).", faults=[Fault(pointer, what)])


def malformed(error: Exception, body: bytes = b"", prefix: str = "") -> Invalid:
    """A refusal that says where, by line and column, the JSON breaks."""
    line = column = None
    found = _BYTE.search(str(error))
    if found is not None:
        before = body[: int(found[1])]
        line = before.count(b"\n") + 1
        column = len(before) - before.rfind(b"\n")
    fault = Fault(prefix, str(error), line=line, column=column)
    where = prefix or "The body"
    return Invalid(f"{where} is not valid JSON: {error}.", code="malformed", faults=[fault])


def pointer_of(path: str) -> str:
    """An RFC 6901 pointer from msgspec's path; unnamed map entries end it at the map."""
    pointer = ""
    for name, index in _PART.findall(path.removeprefix("key in `").removeprefix("$")):
        if index == "...":
            break
        pointer += f"/{escape(name or index)}"
    return pointer


def escape(part: str) -> str:
    """One reference token of a JSON pointer."""
    return part.replace("~", "~0").replace("/", "~1")


def check_depth(document: bytes, limit: int) -> None:
    """Refuse JSON nested deeper than `limit`. Raises `Invalid`.

    Documents with few brackets pass at the cost of counting them. Else the strings are cut out
    and innermost pairs removed, `limit` times at most: what is left then is nested too deeply.
    """
    if document.count(b"[") + document.count(b"{") <= limit:
        return
    brackets = _STRING.sub(b"", document).translate(None, _NO_BRACKETS)
    for _ in range(limit):
        shorter = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    if b"[" in brackets or b"{" in brackets:
        raise Invalid(f"The JSON is nested deeper than {limit} levels.", code="too_deep")


def payload(raw: msgspec.Raw, pointer: str) -> msgspec.Raw:
    """Copy an embedded document out of its message and make sure that it is valid JSON.

    The copy lets the message go (a `Raw` is a view on all of it). The parser skips over embedded
    documents without looking at their text encoding or at the range of their numbers, and what
    cannot be decoded later must not be accepted now. Raises `Invalid`.
    """
    document = raw.copy()
    try:
        _decode_any(document)
    except msgspec.ValidationError as error:
        raise refused_value(error, pointer) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error, bytes(document), pointer) from error
    return document
