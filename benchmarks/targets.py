"""What we want to reach, as ratios within a run: T = a trivial EVALSHA (`return 1`), S = bare streams."""

from __future__ import annotations

# (kind of queue, step, batch) -> server time per message, in T
SCRIPTS = {
    ("standard", "send", 1): 3.5,
    ("standard", "receive", 1): 7.0,
    ("standard", "delete", 1): 2.2,
    ("fifo", "send", 1): 6.0,  # with deduplication
    ("fifo", "receive", 1): 11.0,
    ("fifo", "delete", 1): 6.0,
    ("standard", "send", 10): 0.9,
    ("standard", "receive", 10): 2.0,
    ("standard", "delete", 10): 0.7,
}

# (kind of queue, batch) -> server time per message of send, receive and delete together, in S
SUMS = {("standard", 1): 2.5, ("standard", 10): 1.6}


GROWTH = 1.3  # server time with a large backlog or many messages in flight, over that with few
MEMORY = 40  # bytes per waiting message over a body of 100 bytes
NATIVE_CLIENT = 1.6  # client CPU per call, over a held connection running a trivial EVALSHA with the same arguments
DROP_IN_CLIENT = 1.5  # client CPU per call, over a boto3 client with a constant answer
FLEET = {1: 1.5, 10: 1.2}  # batch -> messages per second, in S
WORKERS = 1.5  # messages per second of a fleet of workers, over the best other queue, bare streams included
HAND_OVER = 1.5  # p50, over a blocked XREADGROUP
PARTITIONS = 1.3  # server CPU per message of a queue of several partitions, over one of a single partition
IDLE = 20  # commands per second of 50 idle consumers
LONGEST_MS = 25  # the longest script call that a client can cause


def verdict(reached: float, target: float | None, *, at_least: bool = False) -> str:
    """In a word."""
    if target is None:
        return ""
    return "reached" if (reached >= target if at_least else reached <= target) else "behind"
