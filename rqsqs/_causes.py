"""Which failures have the same cause: messages that failed for the same reason count together."""

from __future__ import annotations

import re

_WORD, _DIGIT = re.compile(r"[\w.:-]+"), re.compile(r"\d")
LONGEST = 500  # characters by which causes are told apart
MOST = 10_000  # characters of a text that are looked at


def pattern_of(type_: str, message: str) -> str:
    """A cause in one line, `TYPE: MESSAGE`, the same for all failures of it: `…` stands for what differs."""
    message = _WORD.sub(_what_stays, " ".join(message[:MOST].split()))
    return f"{type_}: {message}"[:LONGEST].rstrip() if message else type_[:LONGEST].rstrip()


def wanted_cause(text: str) -> str:
    """The same of a cause that somebody named as it was shown, with or without `…`; "" = that none was recorded."""
    name, _, message = text.partition(": ")
    return pattern_of(name, message)


def _what_stays(word: re.Match[str]) -> str:
    """Ids, numbers and addresses differ in otherwise equal texts."""
    return "…" if _DIGIT.search(word[0]) else word[0]
