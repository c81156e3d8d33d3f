"""Celery over SQS: celery -A tasks worker

The configuration is the one for Amazon SQS: kombu's SQS transport, its asynchronous hub on. Only the broker's URL names
another host. Key and secret come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the region from AWS_DEFAULT_REGION.
"""

import os

from celery import Celery

app = Celery("tasks")
app.conf.update(
    broker_url=os.environ.get("CELERY_BROKER_URL", "sqs://localhost:9324"),
    broker_transport_options={
        "region": os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
        "is_secure": False,  # http; True if the gateway has TLS
        "wait_time_seconds": 20,
        "visibility_timeout": 300,
    },
    broker_connection_retry_on_startup=True,
    task_default_queue=os.environ.get("CELERY_QUEUE", "tour-celery"),
    task_acks_late=True,
    worker_enable_remote_control=False,  # SQS has no broadcast
    result_backend=os.environ.get("CELERY_RESULT_BACKEND"),
)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(bind=True, max_retries=3)
def second_time(self, text: str) -> str:
    """Fails once, and is retried after a second: a message with a delay."""
    if self.request.retries == 0:
        raise self.retry(countdown=1)
    return text.upper()
