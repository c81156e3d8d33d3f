"""What follows when a wait has ended: the same for both variants, and for both ways to wait."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import redis.exceptions as rx

from rqsqs._core import scripts
from rqsqs._core.operation import Operation, Wait
from rqsqs._io import error_mapping, protocol
from rqsqs._io.protocol import CLOSED, BrokenOff, CallSlot
from rqsqs.errors import UsageError

REFRESH = None  # find out which server has what


def closed() -> UsageError:
    """Why a wait ends whose connection is closed."""
    return UsageError(f"{CLOSED} while this waited")


def ended(
    caller: Any, wait: Wait, outcome: Any, operation: Operation | None, slot: CallSlot, *, is_sent: bool
) -> Generator[tuple[Operation, CallSlot | None] | None, Any, Any]:
    """What follows the outcome of a wait. Yields a call to make, with the call slot of an attempt whose answer was
    lost, or REFRESH; returns the result of the wait.

    Args:
        caller: makes calls; of either variant.
        outcome: the reply to `operation`, the wakeup list that had a token, an exception, or None: the time is over.
        operation: was to follow a token at once; None if that cannot be.
        slot: that of `operation`.
        is_sent: the server runs `operation`, or did.
    """
    if isinstance(outcome, Exception) and not isinstance(outcome, rx.NoScriptError):  # at which nothing was done
        if caller.is_closed:
            raise closed() from outcome
        if isinstance(outcome, rx.ResponseError):
            if protocol.is_unblocked(outcome) or (caller.router.is_dynamic and protocol.is_elsewhere(outcome)):
                caller.counters.count("broken_waits")
                yield REFRESH
                return None  # the next call finds out
            if operation is None:
                raise error_mapping.server(outcome, sent=True, where=caller.where) or outcome from outcome
            script = scripts.get(operation.script)
            raise error_mapping.refused(outcome, script, operation.keys, caller.where) from outcome
        caller.counters.count("broken_waits" if isinstance(outcome, BrokenOff) else "connections_lost")
        yield REFRESH
        if operation is not None and is_sent:
            caller.counters.count("repeated_calls")
            return (yield operation, slot)
    if operation is not None and is_sent and not isinstance(outcome, Exception):
        forgetting = protocol.forgetting(operation, slot, outcome)
        caller.slots.give(slot)
        caller.forget(forgetting)
        return outcome if operation.parse is None else operation.parse(outcome)
    caller.slots.give(slot)
    if wait.then is not None:  # the time is over, or there was nothing to receive yet when the connection broke
        return (yield operation or wait.then(), None)
    return outcome if isinstance(outcome, str) else None
