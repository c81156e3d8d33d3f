"""Patterns with * and ?, and variables of policies in them.

A pattern is matched part by part, the parts between its stars from the left to the right, so the time does not explode
with the number of stars, as it does with a regular expression for the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

Lookup = Callable[[str], str | None]  # a condition key in lower case -> its value, None if it has none or several
Token = str | bool  # a literal text; True for *, False for ?
Matcher = Callable[[str], bool]

_TOKENS = re.compile(r"\$\{([^{}]*)\}|([*?])")
_VARIABLE = re.compile(r"\s*([^,'\s]+)\s*(?:,\s*'([^']*)'\s*)?")


class Variable:
    """A variable: its condition key, and what stands for it if there is none."""

    __slots__ = ("default", "key")

    def __init__(self, key: str, default: str | None) -> None:
        self.key = key.lower()
        self.default = default

    def value(self, lookup: Lookup) -> str | None:
        """What it stands for; None if nothing does."""
        found = lookup(self.key)
        return self.default if found is None else found


class Pattern:
    """A text to compare with.

    Args:
        text: the pattern.
        has_variables: whether ${...} is one.
        has_wildcards: whether * and ? are any.
        ignores_case: whether it does.

    Attributes:
        variables: those in it.
    """

    __slots__ = ("_ignores_case", "_matcher", "_tokens", "variables")

    def __init__(
        self, text: str, *, has_variables: bool, has_wildcards: bool = True, ignores_case: bool = False
    ) -> None:
        tokens = list(_tokens(text, has_variables, has_wildcards))
        self._ignores_case = ignores_case
        self._tokens = tokens
        self.variables = tuple(token for token in tokens if isinstance(token, Variable))
        fixed = tuple(token for token in tokens if not isinstance(token, Variable))
        self._matcher = None if self.variables else _matcher(self._cased(fixed))

    def matches(self, text: str, lookup: Lookup) -> bool | None:
        """Whether a text is what it says; None if a variable in it stands for nothing."""
        if self._ignores_case:
            text = text.lower()
        if self._matcher is not None:
            return self._matcher(text)
        tokens: list[Token] = []
        for token in self._tokens:
            if isinstance(token, Variable):
                value = token.value(lookup)
                if value is None:
                    return None
                tokens.append(value)  # literally: a star in a user's name is a star
            else:
                tokens.append(token)
        return _matcher.__wrapped__(self._cased(tuple(tokens)))(text)  # values of requests are not worth remembering

    def _cased(self, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        if not self._ignores_case:
            return tokens
        return tuple(token.lower() if isinstance(token, str) else token for token in tokens)


def _tokens(text: str, has_variables: bool, has_wildcards: bool) -> list[Token | Variable]:
    tokens: list[Token | Variable] = []
    start = 0
    for match in _TOKENS.finditer(text):
        if match[2]:
            if not has_wildcards:
                continue
            token: Token | Variable = match[2] == "*"
        elif not has_variables:
            continue
        elif match[1] in ("*", "?", "$"):
            token = match[1]
        elif variable := _VARIABLE.fullmatch(match[1]):
            token = Variable(variable[1], variable[2])
        else:
            token = Variable("", None)  # of a form that means nothing
        if match.start() > start:
            tokens.append(text[start : match.start()])
        tokens.append(token)
        start = match.end()
    if start < len(text):
        tokens.append(text[start:])
    return tokens


@lru_cache(maxsize=4096)
def _matcher(tokens: tuple[Token, ...]) -> Matcher:
    """What matches a sequence of literal texts and wildcards."""
    if not any(isinstance(token, bool) for token in tokens):
        whole = "".join(map(str, tokens))
        return lambda text: text == whole
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token is True:
            parts.append([])
        else:
            parts[-1].append(token)
    first, *rest = [_part(part) for part in parts]
    if not rest:
        return lambda text: first[0].fullmatch(text) is not None
    middle = [regex for regex, length in rest[:-1] if length]
    last, last_length = rest[-1]

    def matches(text: str) -> bool:
        found = first[0].match(text)
        for one in middle:
            if found is None:
                return False
            found = one.search(text, found.end())
        start = len(text) - last_length
        return found is not None and start >= found.end() and last.fullmatch(text, start) is not None

    return matches


def _part(tokens: list[Token]) -> tuple[re.Pattern[str], int]:
    """What is between two stars, and how many characters it has."""
    text = "".join("." if token is False else re.escape(str(token)) for token in tokens)
    return re.compile(text, re.DOTALL), sum(1 if token is False else len(str(token)) for token in tokens)
