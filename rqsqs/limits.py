"""The limits of the two modes, and nothing else.

`AWS` is what SQS allows (sources: SQS Developer Guide, "Amazon SQS quotas"; API reference); `NATIVE` is what rqsqs
allows. Either can be chosen for a connection.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for. Times in milliseconds, sizes in bytes, 0 = no limit."""

    __module__ = "rqsqs"

    name: str
    batch_entries: int
    batch_bytes: int
    receive_messages: int
    wait_ms: int
    delay_ms: int
    visibility_ms: int
    total_visibility_ms: int
    retention_min_s: int
    retention_max_s: int
    message_size_min: int
    message_size_max: int
    in_flight: int
    attributes: int
    recreate_interval_s: int
    purge_interval_s: int
    strict: bool


AWS = Limits(
    name="aws",
    batch_entries=10,
    batch_bytes=1_048_576,
    receive_messages=10,
    wait_ms=20_000,
    delay_ms=900_000,
    visibility_ms=43_200_000,
    total_visibility_ms=43_200_000,
    retention_min_s=60,
    retention_max_s=1_209_600,
    message_size_min=1024,
    message_size_max=1_048_576,
    in_flight=120_000,
    attributes=10,
    recreate_interval_s=60,
    purge_interval_s=60,
    strict=True,
)

TEN_YEARS_S = 315_360_000

NATIVE = Limits(
    name="native",
    batch_entries=1000,
    batch_bytes=0,
    receive_messages=1000,
    wait_ms=TEN_YEARS_S * 1000,
    delay_ms=TEN_YEARS_S * 1000,
    visibility_ms=TEN_YEARS_S * 1000,
    total_visibility_ms=0,
    retention_min_s=1,
    retention_max_s=TEN_YEARS_S,
    message_size_min=1,
    message_size_max=256 * 1_048_576,
    in_flight=0,
    attributes=0,
    recreate_interval_s=0,
    purge_interval_s=0,
    strict=False,
)
