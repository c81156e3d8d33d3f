"""What we want to reach, as ratios within a run: M = scripts of nothing but the redis calls that a standard queue needs
(benchmarks/minimal.py), K = the same that keeps answers and counts receives, S = bare streams."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A limit.

    Attributes:
        why: where the rest is, for the page; shown while the target is missed.
    """

    limit: float
    unit: str = "×"
    at_least: bool = False
    why: str = ""

    def is_reached(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def verdict(self, value: float) -> str:
        """In a word."""
        return "reached" if self.is_reached(value) else "behind"

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:,g} {self.unit}"


LUA = "the Lua around the redis calls: arguments, settings, the checks of what is out of the ordinary"
FIFO_TENS = (
    "the prototype that the target comes from had other data: no `state` of what was received for the first time, and "
    "a score that says so, which makes receipts and upgrades harder to get right"
)
SEND = f"M lacks the `SET` that recognises a repeated call, K has it; what is over K is {LUA}"
RECEIVE = f"M lacks the `SET` that keeps the answer, and a counter, K has both; what is over K is {LUA}"
FLEET = "clients and server share the processors; the tables tell how the CPU time of a message is divided between them"
TOKEN = (
    "two scripts and a wake-up token lie between send and message, where streams have two commands; not divided further"
)
HANDLER = "some 50 Python calls from the wake-up to the handler, on a processor that slept"
CACHES = "each call touches memory that is in no cache of the processor; its redis calls are the same at any size"

# (step, batch) -> over the minimum, by the server's time and by instructions alike
STANDARD = {
    ("send", 1): Target(1.3, "M", why=SEND),
    ("receive", 1): Target(1.35, "M", why=RECEIVE),
    ("delete", 1): Target(1.1, "M", why=LUA),
    ("send", 10): Target(1.2, "M", why=SEND),
    ("receive", 10): Target(1.4, "M", why=RECEIVE),
    ("delete", 10): Target(1.1, "M", why=LUA),
}

# (row of benchmarks/instructions.py, step) -> instructions over those of the base, commit 7b5461d. Its scripts make as
# many redis calls as those that the targets were set for (7, 10 and 8 for one message, 34, 37 and 44 for ten of ten
# groups); the mean of two counts, which differ by 2 % at most. They do not depend on the machine, but on how the server
# was built: others have no base. `instructions.of_checkout` counts a checkout.
FIFO = {
    ("FIFO, one by one", "send"): Target(0.9, "of the base", why=LUA),
    ("FIFO, one by one", "receive"): Target(0.8, "of the base", why=LUA),
    ("FIFO, one by one", "delete"): Target(0.75, "of the base", why=LUA),
    ("FIFO, tens of ten groups", "send"): Target(0.9, "of the base", why=LUA),
    ("FIFO, tens of ten groups", "receive"): Target(0.45, "of the base", why=FIFO_TENS),
    ("FIFO, tens of ten groups", "delete"): Target(0.65, "of the base", why=FIFO_TENS),
    ("FIFO, tens of one group, reversed", "delete"): Target(0.3, "of the base", why=FIFO_TENS),
}
FIFO_BASE: dict[str, dict[tuple[str, str], float]] = {
    "Redis 7.0.15": {
        ("FIFO, one by one", "send"): 137_157,
        ("FIFO, one by one", "receive"): 186_902,
        ("FIFO, one by one", "delete"): 110_389,
        ("FIFO, tens of ten groups", "send"): 65_251,
        ("FIFO, tens of ten groups", "receive"): 74_709,
        ("FIFO, tens of ten groups", "delete"): 54_437,
        ("FIFO, tens of one group, reversed", "delete"): 92_863,
    },
    "Valkey 9.1.2": {
        ("FIFO, one by one", "send"): 139_633,
        ("FIFO, one by one", "receive"): 192_393,
        ("FIFO, one by one", "delete"): 113_027,
        ("FIFO, tens of ten groups", "send"): 68_565,
        ("FIFO, tens of ten groups", "receive"): 72_117,
        ("FIFO, tens of ten groups", "delete"): 54_683,
        ("FIFO, tens of one group, reversed", "delete"): 92_808,
    },
}

CALLS = {  # own Python calls of one call of the native API
    "send": Target(12, "calls"),
    "receive": Target(12, "calls"),
    "delete": Target(12, "calls"),
    "delete and receive": Target(13, "calls"),
}
NATIVE_CLIENT = Target(
    1.4, why="checking and packing the body, choosing a connection, and making a Message of the answer"
)
DROP_IN_CLIENT = Target(1.1, why="translating between the shapes of boto3 and ours")
FLEETS = {  # (contestant, batch)
    ("rqsqs", 1): Target(1.7, "S", at_least=True, why=FLEET),
    ("rqsqs, delete and receive", 1): Target(2.1, "S", at_least=True, why=FLEET),
    ("rqsqs, delete and receive", 10): Target(1.6, "S", at_least=True, why=FLEET),
    ("rqsqs worker", 1): Target(3.0, "S", at_least=True, why=FLEET),
    ("rqsqs worker", 10): Target(1.6, "S", at_least=True, why=FLEET),
}
SENDER = Target(3.0, "XADD", at_least=True, why="threads of one process share its interpreter")
HAND_OVER = Target(1.1, "XREADGROUP", why=TOKEN)
WORKER_HAND_OVER = Target(1.4, "BLPOP", why=HANDLER)
# Server time with the largest size over that with the smallest, beyond what bare calls grow by
GROWTH = Target(1.2, why=CACHES)
PARTITIONS = Target(1.3)  # server CPU per message of a queue of several partitions, over one of a single partition
MEMORY = Target(
    34, "bytes", why="33 are the message's own, 1 its share of a node; jemalloc rounds nodes up by 1 for each message"
)
IDLE = Target(
    1,
    "commands/s",
    why="the target is that of waits that go on, in which there are none; one that ends after 20 s makes a call, as "
    "with bare streams, whose script makes some more; workers say twice a minute that they are alive",
)
LONGEST_CALLS = Target(2500, "redis calls")
LONGEST_BYTES = Target(4, "MiB beyond one message")
