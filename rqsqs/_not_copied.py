"""What stands for connections, threads or locks: it cannot go to another process, nor be there twice."""

from __future__ import annotations

from typing import ClassVar, NoReturn, SupportsIndex


class NotCopied:
    """An object that pickle and copy refuse, with a sentence that says what to do instead.

    Attributes:
        _instead: the end of that sentence.
    """

    __slots__ = ()
    _instead: ClassVar[str] = "make one in each process instead"

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        raise TypeError(f"a {name} cannot be pickled or copied: {self._instead}")  # as Python's own objects do
