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


def verdict(reached: float, target: float | None, *, at_least: bool = False) -> str:
    """In a word."""
    if target is None:
        return ""
    return "reached" if (reached >= target if at_least else reached <= target) else "behind"
