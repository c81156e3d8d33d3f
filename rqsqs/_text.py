"""Foreign text on its way to a terminal or a log: bodies, names, tags and error texts that somebody else wrote; and
what somebody probably meant who named something that does not exist.

A terminal obeys control characters, bidi controls turn text around, and a line break begins a line that looks like one
of ours. Here such characters become visible: `\\x1b`, `\\u202e`, `\\n`. Imports nothing heavy, since errors use it too.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any

_INVISIBLE = (
    r"\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi controls
    r"\u2028\u2029\ud800-\udfff"  # line separators, lone surrogates
    r"\xad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # no width, no ink: tags, fillers, selectors
)
# Joiners belong inside words of some scripts and inside emoji. Elsewhere they only make two names look the same.
_JOINERS = r"(?<![^\x00-\x7f\u200b-\u200f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\u200b-\u200f])"
_HIDDEN = re.compile(f"[{_INVISIBLE}]|{_JOINERS}")
_PERHAPS_HIDDEN = re.compile(rf"[{_INVISIBLE}\u200c\u200d]")
_SUGGESTED = 3  # names
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def printable(text: str) -> str:
    """The text in one line, without characters that a terminal would obey or hide; done twice it is the same."""
    return text if _is_harmless(text) else _HIDDEN.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """The same with its line breaks and tabs."""
    if "\n" not in text and "\t" not in text:
        return printable(text)
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def printable_json(text: str) -> str:
    """JSON in one line, with escapes that mean the same for what a terminal would obey or hide."""
    return text if _is_harmless(text) else _HIDDEN.sub(lambda match: json.dumps(match[0])[1:-1], text)


def jsonable(value: Any) -> Any:
    """What JSON has no word for: bytes as {"base64": ...}, times in ISO form, the rest as text."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def shortened(text: str, limit: int) -> str:
    """The first `limit` characters, and how many more there are."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}... and {len(text) - limit:,} more characters"


def shown(value: object) -> str:
    """A value in an error message."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole numbers of more than 4,300 digits
        text = "a number of very many digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`; did you mean 'orders' or 'orders-dead'?`, or nothing if no name is near.

    Near is what is spelled nearly so, in upper or lower case, and then what begins so.
    """
    from difflib import get_close_matches

    by_folded = {name.casefold(): name for name in names}
    folded = word.casefold()
    near = get_close_matches(folded, by_folded, _SUGGESTED, 0.7)
    if len(folded) > 1:
        near += sorted((name for name in by_folded if name.startswith(folded) and name not in near), key=len)
    found = [repr(by_folded[name]) for name in near[:_SUGGESTED]]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _is_harmless(text: str) -> bool:
    """Quickly, for most text."""
    return text.isprintable() if text.isascii() else _PERHAPS_HIDDEN.search(text) is None


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


_PLAIN = re.compile(r"True|False|[0-9]{1,20}|[a-z_-]{1,24}|[A-Z_][A-Z0-9_]{0,63}")  # numbers, fields, variables


def no_secret(value: object) -> str:
    """A value for an error about a file of secrets; not what could be one that stands in the wrong place."""
    return repr(value) if _PLAIN.fullmatch(str(value)) else f"a {type(value).__name__} that may be a secret"
