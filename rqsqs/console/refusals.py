"""What the console does not do, and how it says so."""

from __future__ import annotations

from rqsqs.errors import RqsqsError


class ConsoleRefusal(RqsqsError):
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


class LoginNeeded(ConsoleRefusal):
    """Nobody is logged in, or not any more."""

    status = 401

    def __init__(self) -> None:
        super().__init__("your session has ended: log in again")


class LoginRefused(ConsoleRefusal):
    """The access key is unknown or disabled, or its secret is another one: nobody is told which."""

    status = 403

    def __init__(self) -> None:
        super().__init__("there is no active access key with this id and secret")


class TooManyLogins(ConsoleRefusal):
    """Somebody guesses."""

    status = 429

    def __init__(self) -> None:
        super().__init__("there were too many logins: wait a minute, and try again")


class StrangersForm(ConsoleRefusal):
    """A large form of somebody who is not logged in."""

    status = 413

    def __init__(self) -> None:
        super().__init__("this form is too large: log in first")


class TooManyStreams(ConsoleRefusal):
    """Somebody keeps very many pages open."""

    status = 429

    def __init__(self) -> None:
        super().__init__("too many pages are open with this access key: close some")


class TooLarge(ConsoleRefusal):
    """A form with more in it than anybody types."""

    status = 413

    def __init__(self) -> None:
        super().__init__("this form is too large: nothing was changed")


class TooSlow(ConsoleRefusal):
    """A form that does not come to its end."""

    status = 408

    def __init__(self) -> None:
        super().__init__("this form did not come in time: nothing was changed")


class TooBusy(ConsoleRefusal):
    """Others send large forms."""

    status = 503

    def __init__(self) -> None:
        super().__init__("the console reads too many large forms: nothing was changed; try again")


class ServerSilent(ConsoleRefusal):
    """Redis does not answer."""

    status = 503

    def __init__(self) -> None:
        super().__init__("the server does not answer: nothing can be shown; try again")


class NotPrivate(ConsoleRefusal):
    """Others could read the secret on its way."""

    status = 403

    def __init__(self) -> None:
        super().__init__(
            "from other machines people log in over TLS only: start with --tls-cert and --tls-key, or behind a proxy "
            "with TLS that --trusted-proxy names"
        )


class NotFound(ConsoleRefusal):
    """There is no such page."""

    status = 404

    def __init__(self, what: str = "page") -> None:
        super().__init__(f"there is no such {what}")


class NameMissing(ConsoleRefusal):
    """What cannot be undone was asked for without the name of what it is about."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(f"type the name of the {kind}, {name}, to do this: it cannot be undone. Nothing was changed")


class NothingChosen(ConsoleRefusal):
    """An action for messages without one."""

    def __init__(self) -> None:
        super().__init__("choose at least one message: nothing was changed")


class MessageGone(ConsoleRefusal):
    """A queue does not hold a message."""

    status = 404

    def __init__(self) -> None:
        super().__init__("the queue does not hold this message: it was deleted, moved or cancelled, or never there")
