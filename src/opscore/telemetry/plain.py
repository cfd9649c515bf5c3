"""One rule for showing text that somebody else wrote, on a terminal and in a log.

Agents and strangers write names, messages and errors; `plain` shows control characters instead of
obeying them (a title that clears the screen, a name that runs backwards, a line that looks like
another entry of the log).
"""

from __future__ import annotations

import re

UNSAFE = re.compile(
    # C0, DEL, C1; then what reorders, hides or breaks text (bidi controls, line separators).
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: object) -> str:
    """`text` on one line, with every control character shown as an escape (`ESC` as `x1b`)."""
    return UNSAFE.sub(_shown, str(text))


def plain_lines(text: str) -> str:
    """The same line by line: for texts whose line breaks are their own, such as tracebacks."""
    return "\n".join(map(plain, text.split("\n")))


def plain_json(text: str) -> str:
    """A JSON text that is safe to show: what `plain` would escape is a JSON escape.

    Inside JSON such characters stand in strings only; the layout's own line breaks stay.
    """
    return UNSAFE.sub(lambda m: m.group() if m.group() == "\n" else f"\\u{ord(m[0]):04x}", text)


def _shown(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _NAMES.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
