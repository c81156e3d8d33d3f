"""Dramatiq over SQS: dramatiq actors

boto3 reads AWS_ENDPOINT_URL_SQS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION.
"""

import os
from pathlib import Path

import dramatiq
from dramatiq.middleware import AgeLimit, Callbacks, Retries, TimeLimit
from dramatiq_sqs import SQSBroker

broker = SQSBroker(
    namespace=os.environ.get("DRAMATIQ_NAMESPACE", "tour-dramatiq"),
    dead_letter=True,
    middleware=[AgeLimit(), TimeLimit(), Callbacks(), Retries(max_retries=1, min_backoff=1000, max_backoff=2000)],
)
dramatiq.set_broker(broker)


@dramatiq.actor
def note(folder: str, name: str) -> None:
    """Leave a file that shows that it ran."""
    (Path(folder) / name).touch()


@dramatiq.actor
def broken(folder: str) -> None:
    """Fails, is retried once after a second or two, and goes to the dead-letter queue."""
    with (Path(folder) / "broken").open("a") as file:
        file.write("x")
    raise ValueError("it always fails")
