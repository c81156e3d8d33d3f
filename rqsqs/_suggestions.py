"""What somebody probably meant who named something that does not exist."""

from __future__ import annotations

from collections.abc import Iterable

AT_MOST = 3


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`; did you mean 'orders' or 'orders-dead'?`, or nothing if no name is near.

    Near is what is spelled nearly so, in upper or lower case, and then what begins so.
    """
    from difflib import get_close_matches

    by_folded = {name.casefold(): name for name in names}
    folded = word.casefold()
    near = get_close_matches(folded, by_folded, AT_MOST, 0.7)
    if len(folded) > 1:
        near += sorted((name for name in by_folded if name.startswith(folded) and name not in near), key=len)
    found = [repr(by_folded[name]) for name in near[:AT_MOST]]
    return f"; did you mean {' or '.join(found)}?" if found else ""
