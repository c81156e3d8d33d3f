"""How much of forms is read, from whom, and for how long."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.types import Message

from .refusals import TooBusy, TooLarge, TooSlow

STRANGER_BYTES, STRANGER_S = 16 * 1024, 30.0  # of forms that people fill in who are not logged in
MIB = 1024 * 1024
FORM_S = 300.0  # until a form has to be there
MOST_HELD = 256 * MIB  # of all forms that are being read or worked at


class Forms:
    """Those that are being read or worked at by a process.

    Attributes:
        held: their bytes.
    """

    def __init__(self) -> None:
        self.held = 0

    def body(self, request: Request, most: int, within_s: float) -> Body:
        """What comes with a request.

        Args:
            most: bytes.
            within_s: seconds until it has to be there.
        """
        return Body(self, request, most, within_s)


class Body:
    """What comes with a request, as far as there is room for it."""

    def __init__(self, forms: Forms, request: Request, most: int, within_s: float) -> None:
        self._forms, self._receive, self._most = forms, request.receive, most
        self._until = time.monotonic() + within_s
        self._size = 0

    async def receive(self) -> Message:
        """The next part.

        Raises:
            TooLarge, TooSlow, TooBusy: it is, or so are others.
        """
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow from None
        size = len(message.get("body", b""))
        self._size += size
        self._forms.held += size
        if self._size > self._most:
            raise TooLarge
        if self._forms.held > MOST_HELD:
            raise TooBusy
        return message

    def forget(self) -> None:
        """It is not needed any more."""
        self._forms.held -= self._size
        self._size = 0


def is_small(request: Request) -> bool:
    """Whether what a stranger sends may be read."""
    length = request.headers.get("content-length", "")
    return length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= STRANGER_BYTES
