"""The worker: give it functions, and it receives, keeps, retries, deletes and stops for you.

    from rqsqs.worker import Worker

    worker = Worker("redis://localhost:6379/0")


    @worker.handler("orders")
    def handle(message):
        print(message.body)


    if __name__ == "__main__":
        worker.run()

A message is deleted when its handler returns. If it raises an exception the message is tried again, as the queue's
retry policy says (rqsqs.RetryPolicy), and goes to the dead-letter queue in the end. If the process dies, what it had in
hand is visible to others within two heartbeat intervals. A message may therefore be handled twice, never not at all.
"""

from rqsqs.worker.app import Worker
from rqsqs.worker.context import Context, LogFilter, current
from rqsqs.worker.outcomes import DeadLetter, HandlerTimeout, MessageLost, Retry, WorkerDied

__all__ = [
    "Context",
    "DeadLetter",
    "HandlerTimeout",
    "LogFilter",
    "MessageLost",
    "Retry",
    "Worker",
    "WorkerDied",
    "current",
]
