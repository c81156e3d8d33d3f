"""Turns what redis-py raises into exceptions of rqsqs, each with a sentence that says what to do."""

from __future__ import annotations

import logging
import os
import re

import redis.exceptions as rx

from rqsqs import errors
from rqsqs._core.operation import Operation, Wait
from rqsqs._core.operations import queues
from rqsqs._core.scripts import Script
from rqsqs._io import protocol
from rqsqs._text import printable

log = logging.getLogger("rqsqs")

_SENTENCES = {
    "QUEUE_NOT_FOUND": "the queue {queue!r} does not exist",
    "QUEUE_BEING_DELETED": "the queue {queue!r} is being deleted",
    "QUEUE_NAME_EXISTS": "the queue {queue!r} exists with another value of {detail}",
    "QUEUE_DELETED_RECENTLY": "the queue {queue!r} was deleted less than 60 seconds ago; its name cannot be used yet",
    "PURGE_QUEUE_IN_PROGRESS": "the queue {queue!r} was purged less than 60 seconds ago",
    "DEDUPLICATION_ID_REQUIRED": "the queue {queue!r} has no ContentBasedDeduplication: pass a deduplication id",
    "MESSAGE_TOO_LARGE": "a message is larger than the MaximumMessageSize of {queue!r}, {detail} bytes",
    "OVER_LIMIT": "{queue!r} is at its limit of {detail}",
}
_SQS_MESSAGES = {
    "QUEUE_NOT_FOUND": "The specified queue does not exist.",
    "QUEUE_BEING_DELETED": "The specified queue does not exist.",
    "QUEUE_NAME_EXISTS": "A queue already exists with the same name and a different value for attribute {detail}",
    "QUEUE_DELETED_RECENTLY": "You must wait 60 seconds after deleting a queue before you can create another with the "
    "same name.",
    "PURGE_QUEUE_IN_PROGRESS": "Only one PurgeQueue operation on {queue} is allowed every 60 seconds.",
    "DEDUPLICATION_ID_REQUIRED": "The queue should either have ContentBasedDeduplication enabled or "
    "MessageDeduplicationId provided explicitly",
}


def refused(
    error: rx.ResponseError, script: Script, keys: tuple[str, ...], where: str = "the server", is_open: bool = False
) -> errors.RqsqsError:
    """An error reply of a script or of the server.

    Args:
        is_open: an earlier attempt got no answer.
    """
    text = str(error)
    code, _, detail = text.partition(" ")
    cls = errors.BY_CODE.get(code)
    if cls is errors.QueueDamaged:
        return errors.QueueDamaged.told(detail)
    if cls is not None:
        queue = keys[0].rsplit(":", 2)[-2] if keys else ""
        known = {"queue": queue, "detail": detail}
        sentence = _SENTENCES.get(code, "{queue!r}: " + (detail or code)).format(**known)
        sqs = _SQS_MESSAGES.get(code)
        return cls(sentence, sqs_message=sqs.format(**known) if sqs else None, detail=detail, queue=queue)
    known_error = server(error, sent=True, where=where)
    if known_error is not None and is_open:
        return after_lost_answer(known_error)
    if known_error is not None:
        return known_error
    if "proto-max-bulk-len" in text or "invalid bulk length" in text or "max bulk count" in text:
        return errors.MessageTooLarge(_TOO_LONG.format(where=where))
    if text.startswith("WRONGTYPE"):
        vague = errors.QueueDamaged.at(keys[0], "", f"or one beside it has another type ({text})")
        vague.is_vague = True
        return vague
    return errors.ScriptFailed(
        f"{script.locate(text)} (script {script.name}); this is a bug of rqsqs, please report it"
    )


def after_lost_answer(error: errors.RqsqsError) -> errors.RqsqsError:
    """The same error of a call of which an earlier attempt got no answer: it may have been done."""
    found = type(error)(f"{error}; an earlier attempt got no answer, its outcome is unknown")
    if isinstance(found, errors.ServerError):
        found.request_sent = True
    return found


def server(error: Exception, *, sent: bool, where: str = "the server", size: int = 0) -> errors.RqsqsError | None:
    """Any other error of the server; None if it is unknown.

    Args:
        size: bytes of the request.
    """
    text = str(error)
    if isinstance(error, rx.MovedError) or "non local key" in text:
        return errors.UsageError(
            f"{where} is part of a cluster: its URL is redis+cluster://HOST:PORT,HOST:PORT (rediss+cluster:// with TLS)"
        )
    if "DB index is out of range" in text:
        return errors.UsageError(
            f"{where} has no database with this number: the first one is /0, its setting databases says how many it has"
        )
    if isinstance(error, rx.AskError | rx.TryAgainError):
        return errors.ServerLoading(f"{where} is moving the hash slot to another server ({text}): try again later")
    if isinstance(error, rx.OutOfMemoryError) or text.startswith("OOM"):
        return errors.ServerOutOfMemory(
            f"{where} has reached its maxmemory and stored nothing: consume messages, raise maxmemory, or add a node"
        )
    if isinstance(error, rx.ReadOnlyError):
        return errors.ServerReadOnly(f"{where} is a read-only replica: connect to the primary")
    if isinstance(error, rx.BusyLoadingError):
        return errors.ServerLoading(f"{where} is loading its data: try again in a moment")
    if isinstance(error, rx.NoPermissionError) or "user executing the script" in text or "ACL failure" in text:
        return errors.AuthenticationFailed(
            f"the ACL user may not do this ({text}); it needs ~PREFIX:* +@read +@write -@dangerous +time +evalsha "
            "+script|load, and +cluster|slots for a cluster; `rqsqs acl ROLE` prints what is enough for a role"
        )
    if isinstance(error, (rx.AuthenticationError, rx.AuthorizationError)) or text.startswith(
        ("NOAUTH", "WRONGPASS", "Protocol error: unauthenticated")  # the last one: a long request
    ):
        return errors.AuthenticationFailed(
            f"{where} refuses the login ({text}): put the password into the URL, redis://USER:PASSWORD@HOST:PORT/0"
        )
    if isinstance(error, rx.TimeoutError):
        if sent:
            return errors.ServerTimeout(
                f"{where} did not answer in time; the outcome of the request is unknown", request_sent=True
            )
        happened = f": {text}" if isinstance(error, protocol.NoAnswer) and text else ""
        return errors.ServerTimeout(
            f"{where} did not answer in time{happened}; nothing was sent{_ways_out(where)}", request_sent=False
        )
    if isinstance(error, protocol.TooLate):
        return errors.ConnectionFailed(
            f"the answer of {where} was lost and the request cannot be repeated any more: {text}; its outcome is "
            "unknown",
            request_sent=True,
        )
    if isinstance(error, (rx.ConnectionError, rx.InvalidResponse, OSError)):
        outcome = "the outcome of the request is unknown" if sent else "nothing was sent"
        if "max number of clients" in text:
            outcome += "; raise its maxclients, or close connections"
        elif "DENIED" in text:
            outcome += "; it is in protected mode: give it a password, or let it bind to an address of its own"
        elif size > LARGE:
            outcome += (
                f"; the request has {size} bytes: servers hang up at more than their client-query-buffer-limit and "
                "proto-max-bulk-len allow"
            )
        elif not sent:
            outcome += _ways_out(where)
        return errors.ConnectionFailed(f"no connection to {where} ({reason_of(error)}); {outcome}", request_sent=sent)
    if isinstance(error, rx.ClusterDownError) or protocol.is_cut_off(error):
        return errors.ServerLoading(f"{where} has no primary at the moment ({text}): try again in a moment")
    if text.startswith("NOREPLICAS"):
        return errors.ServerReadOnly(f"{where} has too few replicas to accept writes ({text})")
    if text.startswith("MISCONF"):
        return errors.ServerReadOnly(f"{where} cannot persist and accepts no writes ({text})")
    return None


def opening(error: Exception, where: str) -> errors.RqsqsError:
    """Why no server could be used."""
    return server(error, sent=False, where=where) or errors.ConnectionFailed(
        f"no connection to {where} ({printable(str(error))}); nothing was sent", request_sent=False
    )


def log_stopped(name: str, error: Exception) -> None:
    """Log that a move task ended early."""
    if isinstance(error, errors.QueueDoesNotExist):
        log.warning("%s ended: %s", name, error)
    elif isinstance(error, errors.RqsqsError):
        log.warning("%s stopped; the next process that lists the tasks takes over: %s", name, error)
    else:
        log.error("%s stopped; the next process that lists the tasks takes over", name, exc_info=error)


def reason_of(error: BaseException) -> str:
    """Why there is no connection, without the words that redis-py and asyncio put around it."""
    text = str(error) or type(error).__name__
    refused = re.search(r"(?:\[Errno |^Error )(\d+)\b.*Connect call failed", text, re.DOTALL)
    if refused is not None:  # by asyncio, which quotes every address it tried
        return os.strerror(int(refused[1]))
    return printable(re.sub(r"^Error -?\d+ connecting to \S+\. (.+?)\.?$", r"\1", text, flags=re.DOTALL))


def _ways_out(where: str) -> str:
    """What users can do when no server answers."""
    scheme = where.partition("://")[0]
    if scheme == "embedded":
        return ""
    if "+" in scheme:
        return ": start the servers, or set RQSQS_URL to where they are"
    tls = "use redis:// if it has no TLS, " if scheme == "rediss" else ""
    return f": start a server there, {tls}set RQSQS_URL to another one, or have your own with RQSQS_URL=embedded://~"


LARGE = 1_000_000  # the smallest value of both limits of a server is about that
_TOO_LONG = (
    "the message is larger than {where} takes at once: its setting proto-max-bulk-len (or client-query-buffer-limit) "
    "has to be above the queue's maximum_message_size"
)
_OF_QUEUE = re.compile(r"(.*?\}:[^:]+:)", re.DOTALL)


def doubtful(error: BaseException, step: object) -> Operation | None:
    """An operation that finds out whether damaged data caused an error; None if that cannot be.

    On their common path scripts check only what costs nothing to check: garbage makes them fail, and missing data looks
    like a missing queue.
    """
    kind = type(error)
    if kind is not errors.ScriptFailed and kind is not errors.QueueDoesNotExist and kind is not errors.QueueDamaged:
        return None
    if isinstance(error, errors.QueueDamaged) and not error.is_vague:
        return None
    key = step.keys[0] if isinstance(step, Operation) else step.lists[0] if isinstance(step, Wait) else ""
    found = _OF_QUEUE.match(key)
    return queues.find_damage(found[1] + "meta") if found and "{queues}" not in key else None


def explained(error: BaseException, damage: list[errors.QueueDamaged]) -> BaseException:
    """The error to raise instead, by the result of find_damage()."""
    if not damage:
        return error
    damage[0].__cause__ = error
    return damage[0]
