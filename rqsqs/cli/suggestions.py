"""What somebody probably meant who named something that does not exist."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`; did you mean 'orders' or 'orders-dead'?`, or nothing if no name is near."""
    from difflib import get_close_matches

    by_folded = {name.casefold(): name for name in names}
    close = get_close_matches(word.casefold(), by_folded, 3, 0.7)
    return f"; did you mean {' or '.join(repr(by_folded[name]) for name in close)}?" if close else ""
