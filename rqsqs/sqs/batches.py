"""What the three batch actions share: the checks of the request as a whole, and the form of the response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rqsqs._core import flows
from rqsqs._core.keys import QueueRef
from rqsqs.errors import (
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    EmptyBatchRequest,
    InvalidBatchEntryId,
    TooManyEntriesInBatchRequest,
)
from rqsqs.limits import Limits

from .context import Params, Response, ResponseFlow
from .error_responses import batch_entry
from .names import is_label

Entry = Mapping[str, Any]


def check_envelope(params: Params, entry_type: str, limits: Limits) -> Sequence[Entry]:
    """Check number and ids of the entries and return them."""
    entries: Sequence[Entry] = params.get("Entries") or ()
    if not entries:
        raise EmptyBatchRequest(f"There should be at least one {entry_type} in the request.")
    if limits.batch_entries and len(entries) > limits.batch_entries:
        raise TooManyEntriesInBatchRequest(
            f"Maximum number of entries per request are {limits.batch_entries}. You have sent {len(entries)}."
        )
    if not all(is_label(entry.get("Id") or "") for entry in entries):
        raise InvalidBatchEntryId(
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
            "It can be at most 80 letters long."
        )
    seen: set[str] = set()
    for entry in entries:
        if entry["Id"] in seen:
            raise BatchEntryIdsNotDistinct(f"Id {entry['Id']} repeated.")
        seen.add(entry["Id"])
    return entries


def check_total_size(size: int, limits: Limits) -> None:
    """Check how large the messages of a batch are together."""
    if limits.batch_bytes and size > limits.batch_bytes:
        raise BatchRequestTooLong(
            f"Batch requests cannot be longer than {limits.batch_bytes} bytes. You have sent {size} bytes."
        )


def respond(
    queue: QueueRef, entries: Sequence[Entry], outcomes: Sequence[Mapping[str, Any] | Exception]
) -> ResponseFlow:
    """The response of a batch: each list in the order of the request, and left out when empty.

    Args:
        queue: of the request; if no entry was done, perhaps nobody asked yet whether it exists.
        entries: the request's entries.
        outcomes: for each of them, what the response says beside its Id, or why it was not done.
    """
    successful: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for entry, outcome in zip(entries, outcomes, strict=True):
        if isinstance(outcome, Exception):
            failed.append(batch_entry(entry["Id"], outcome))
        else:
            successful.append({"Id": entry["Id"], **outcome})
    response: Response = {}
    if successful:
        response["Successful"] = successful
    else:
        yield flows.get_queue(queue.home)
    if failed:
        response["Failed"] = failed
    return response
