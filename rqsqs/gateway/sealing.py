"""Seals on what a gateway gives out and takes back: receipt handles, handles of move tasks, tokens of pages.

Inside, such a text is guessable: it names a queue, a message and a time, with a checksum at most. Whoever may delete
messages of a queue could make handles of messages that others received. So a gateway puts an HMAC over the kind, the
account, the queue and the text behind it:

    SGVsbG9vcmRlcnMK              a receipt handle of the Python API, which never leaves the machine
    SGVsbG9vcmRlcnMK~1f9c2aXyZ..  the same, sealed: the id of the secret, then the HMAC

What was not sealed here, for this account, is refused in the words in which SQS refuses a damaged one. Receipt handles
and handles of move tasks name their queue themselves, so that one of another queue is refused as such.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rqsqs.sqs.context import Params, Response

MARK = "~"  # not in base64, so what is sealed is never taken for what is not
USED_AFTER_S = 60.0  # a new secret: by then every gateway knows it
MAC_BYTES = 18


class SealingSecret:
    """A secret to seal with.

    Attributes:
        secret: the secret.
        created: seconds since 1970.
        secret_id: names it in what it sealed.
    """

    __slots__ = ("created", "secret", "secret_id")

    def __init__(self, secret: bytes, created: float) -> None:
        self.secret = hashlib.sha256(secret).digest()
        self.created = created
        self.secret_id = hashlib.sha256(b"id" + secret).hexdigest()[:6]


class Sealer:
    """Seals what requests may give back, and unseals it again.

    Args:
        secrets: tells the secrets, oldest first; called with True to look whether there are new ones.
        clock: seconds since 1970.
    """

    def __init__(
        self, secrets: Callable[[bool], Sequence[SealingSecret]], clock: Callable[[], float] = time.time
    ) -> None:
        self._secrets = secrets
        self._clock = clock

    def seal(self, action: str, account: str, queue: str, response: Response) -> Response:
        """Seal what a response gives out, in place.

        Args:
            action: of the request.
            account: whose resource it was about.
            queue: the name of its queue, "" if it has none.
            response: as perform() returned it.
        """
        kind = _IN_RESPONSES.get(action)
        if kind is None:
            return response
        queue = queue if kind == "NextToken" else ""
        if action == "ReceiveMessage":
            places = response.get("Messages", ())
        elif action == "ListMessageMoveTasks":
            places = response.get("Results", ())
        else:
            places = (response,)
        secret = None
        for place in places:
            text = place.get(kind)
            if text is not None:
                secret = secret or self._newest()
                place[kind] = f"{text}{MARK}{secret.secret_id}{_mac(secret, kind, account, queue, text).decode()}"
        return response

    def unseal(self, action: str, account: str, queue: str, params: Params) -> Params:
        """The parameters with handles and tokens as they were before they were sealed.

        What is not sealed as it should be becomes something that the action refuses, as it is up to the action when
        and how: an entry of a batch fails alone, and a queue that does not exist comes first.
        """
        kind = _IN_REQUESTS.get(action)
        if kind is None:
            return params
        queue = queue if kind == "NextToken" else ""
        if action.endswith("Batch"):
            entries = params.get("Entries")
            if not entries:
                return params
            return {**params, "Entries": [self._unsealed(kind, account, queue, entry) for entry in entries]}
        return self._unsealed(kind, account, queue, params)

    def as_sent(self, action: str, sent: Params, unsealed: Params, text: str) -> str:
        """A text of an error, with what was sent instead of what was inside."""
        kind = _IN_REQUESTS.get(action)
        if kind is None or sent is unsealed:
            return text
        pairs = zip(sent.get("Entries") or (sent,), unsealed.get("Entries") or (unsealed,), strict=True)
        for before, after in pairs:
            inside = after.get(kind)
            if inside:
                text = text.replace(inside, before[kind])
        return text

    def _unsealed(self, kind: str, account: str, queue: str, params: Params) -> Params:
        sealed = params.get(kind)
        if not sealed:
            return params
        text, _, seal = sealed.rpartition(MARK)
        for secret in self._known(seal[:6]):
            if hmac.compare_digest(_mac(secret, kind, account, queue, text), seal[6:].encode("utf-8", "surrogatepass")):
                return {**params, kind: text}
        return {**params, kind: _unusable(sealed)}

    def _newest(self) -> SealingSecret:
        secrets = self._secrets(False)
        latest = self._clock() - USED_AFTER_S
        return next((each for each in reversed(secrets) if each.created <= latest), secrets[0])

    def _known(self, secret_id: str) -> list[SealingSecret]:
        found = [each for each in self._secrets(False) if each.secret_id == secret_id]
        return found or [each for each in self._secrets(True) if each.secret_id == secret_id]


_IN_RESPONSES: Mapping[str, str] = {  # action -> what its response gives out
    "ReceiveMessage": "ReceiptHandle",
    "StartMessageMoveTask": "TaskHandle",
    "ListMessageMoveTasks": "TaskHandle",
    "ListQueues": "NextToken",
    "ListDeadLetterSourceQueues": "NextToken",
}
_IN_REQUESTS: Mapping[str, str] = {  # action -> what its request gives back
    "ChangeMessageVisibility": "ReceiptHandle",
    "ChangeMessageVisibilityBatch": "ReceiptHandle",
    "DeleteMessage": "ReceiptHandle",
    "DeleteMessageBatch": "ReceiptHandle",
    "CancelMessageMoveTask": "TaskHandle",
    "ListQueues": "NextToken",
    "ListDeadLetterSourceQueues": "NextToken",
}


def _mac(secret: SealingSecret, kind: str, account: str, queue: str, text: str) -> bytes:
    content = f"{kind}\n{account}\n{queue}\n{text}".encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(hmac.digest(secret.secret, content, "sha256")[:MAC_BYTES])


def _unusable(sealed: str) -> str:
    """What no action takes for one of its own: it is not base64."""
    try:
        binascii.a2b_base64(sealed, strict_mode=True)
    except (ValueError, UnicodeError):
        return sealed
    return sealed + MARK


def secrets_of(keys: Any) -> Callable[[bool], Sequence[SealingSecret]]:
    """The secrets of a keys file."""
    return lambda again: (keys.look() if again else keys.current()).sealing
