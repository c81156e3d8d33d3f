"""The queue and its dead-letter queue. `python queues.py` makes them; once is enough, again does no harm."""

import rqsqs

QUEUE = "cache-operations.fifo"
DEAD_LETTERS = "cache-operations-dead.fifo"


def create(connection: rqsqs.Connection) -> rqsqs.Queue:
    dead_letters = connection.create_queue(DEAD_LETTERS)
    return connection.create_queue(
        QUEUE,
        dead_letter_queue=dead_letters,
        max_receive_count=10,  # what fails for the tenth time goes there, and
        retry_policy=rqsqs.RetryPolicy(base=1, cap=60, dead_letter=("CannotApply",)),  # what can never succeed, at once
    )


if __name__ == "__main__":
    with rqsqs.connect() as connection:
        print(f"{create(connection).name} is there")
