"""What the console does not do, and how it says so."""

from __future__ import annotations

from rqsqs.errors import RequestError


class ConsoleRefusal(RequestError):
    """The console does not do it. `status` is that of HTTP."""

    status = 400


class FormExpired(ConsoleRefusal):
    """A form that this browser was not given, or long ago."""

    status = 403

    def __init__(self) -> None:
        super().__init__("this form is of another session, or too old: open the page again and repeat it")


class ReadOnly(ConsoleRefusal):
    """Nothing can be changed here."""

    status = 403

    def __init__(self) -> None:
        super().__init__("this console is read-only: nothing was changed")


class NotFound(ConsoleRefusal):
    """There is no such page."""

    status = 404

    def __init__(self, what: str = "page") -> None:
        super().__init__(f"there is no such {what}")


class NameMissing(ConsoleRefusal):
    """What cannot be undone was asked for without the name of the queue."""

    def __init__(self, name: str) -> None:
        super().__init__(f"type the name of the queue, {name}, to do this: it cannot be undone. Nothing was changed")
