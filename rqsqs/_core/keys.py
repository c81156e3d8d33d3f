"""Every key name, and nothing else: the only file that spells them."""

from __future__ import annotations

import binascii
import functools
import hashlib
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rqsqs.event_models import Actor

FIFO_SUFFIX = ".fifo"
SLOTS = 16_384  # of a Redis Cluster
PARTS = 128  # of the hash slots, each of which is asked for its server
NEAR = 128  # so close to the slot that would be best a partition is


class Clock(Protocol):
    """Gives the time scripts shall believe in; tests only."""

    def now_us(self) -> int:
        """Microseconds since 1970."""
        ...


class Partition:
    """All keys of one queue under one hash tag: what a script can touch.

    Attributes:
        queue: queue name.
        tag: hash tag, `NAME/NUMBER` of the queue or, for a shard of dead letters, of their source.
        wakeups, backup: the wakeup lists (lua/lib/wakeups.lua).
        waits_on: the first of these, as waiters name it.
        received: counts receives, of which one in many looks whether the settings are damaged.
        node: 64 bits of its name's hash; some of them go into MessageIds.
        found_keys: what keys() has found.
    """

    __slots__ = (
        "backup", "base", "found_keys", "is_fifo", "node", "queue", "received", "space", "tag", "waits_on", "wakeups"
    )  # fmt: skip

    def __init__(self, space: Keyspace, queue: str, tag: str) -> None:
        self.space = space
        self.queue = queue
        self.tag = tag
        self.is_fifo = queue.endswith(FIFO_SUFFIX)
        self.base = f"{space.prefix}:{{{tag}}}:{queue}:"
        self.wakeups = self.base + "wakeups"
        self.backup = self.base + "backup"
        self.waits_on = (self.wakeups,)
        self.received = 0
        self.node = int.from_bytes(hashlib.blake2b(tag.encode(), digest_size=8).digest(), "big")
        self.found_keys: dict[str, tuple[str, ...]] = {}

    def keys(self, names: str) -> tuple[str, ...]:
        """Full names of the keys `names` (separated by blanks)."""
        found = self.found_keys.get(names)
        if found is None:
            found = self.found_keys[names] = tuple(self.base + name for name in names.split())
        return found

    def wake(self, waiter: str) -> str:
        """The wakeup list of one waiter that has a duty (lua/lib/wakeups.lua)."""
        return f"{self.base}wake:{waiter}"

    def dedup(self, kind: str, dedup_id: str, group: str = "") -> str:
        """The key that remembers a deduplication id (lua/lib/deduplication.lua)."""
        if self.is_fifo:
            return f"{self.base}dedup:{len(kind + dedup_id)}:{dedup_id}:{group}"
        return f"{self.base}dedup:{dedup_id}"

    def attempt(self, attempt_id: str) -> str:
        """The key that remembers what a ReceiveRequestAttemptId was answered (lua/lib/attempt.lua)."""
        return f"{self.base}attempt:{attempt_id}"

    def __repr__(self) -> str:
        return f"Partition({self.queue!r}, {self.tag!r})"


@functools.lru_cache(maxsize=100_000)
def partition_tag(name: str, number: int) -> str:
    """The hash tag of a queue's partition: NAME/NUMBER, and .N behind it where that is needed to spread the partitions
    of a queue evenly over the hash slots, and so over the masters of a cluster, however many of them there are."""
    home = f"{name}/0"
    if number == 0:
        return home
    fraction = int(f"{number:014b}"[::-1], 2) / 2**14  # van der Corput: 1/2, 1/4, 3/4, 1/8 ...
    wanted = (_slot(home) + round(fraction * SLOTS)) % SLOTS
    for n in itertools.count():
        tag = f"{name}/{number}.{n}" if n else f"{name}/{number}"
        if (_slot(tag) - wanted + NEAR) % SLOTS <= 2 * NEAR:
            return tag
    raise AssertionError(name)


def _slot(tag: str) -> int:
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


class QueueRef:
    """A queue by name, with the partitions known so far.

    Attributes:
        home: the partition that holds what belongs to the queue as a whole.
        own: the home and the other partitions to which messages are sent.
        partitions: these, and the shards of dead letters.
        topology: the server's version of `partitions`.
        before: how many partitions there were before more were added, while something may be in its old place.
        checked: counts sends, of which one in many looks whether the settings are damaged.
        turn, sends, stays, moves: count receives from another partition than the last, sends, receives from the same
            one, and messages that were not in their old place any more.
        uncounted: numbers of empty receives that the server does not know yet; of one call that tells it, all go along.
        is_counting: such a call is on its way.
    """

    __slots__ = (
        "_shards",
        "before",
        "checked",
        "home",
        "is_counting",
        "is_fifo",
        "moves",
        "name",
        "own",
        "partitions",
        "sends",
        "space",
        "stays",
        "topology",
        "turn",
        "uncounted",
    )

    def __init__(self, space: Keyspace, name: str) -> None:
        self.space = space
        self.name = name
        self.is_fifo = name.endswith(FIFO_SUFFIX)
        self.home = Partition(space, name, partition_tag(name, 0))
        self.own: tuple[Partition, ...] = (self.home,)
        self.partitions: tuple[Partition, ...] = (self.home,)
        self.topology = b""
        self.before = 0
        self.turn, self.sends = random.randrange(1 << 16), random.randrange(1 << 16)
        self.stays = self.moves = self.checked = 0
        self.uncounted: deque[int] = deque()
        self.is_counting = False
        self._shards: dict[str, Partition] = {self.home.tag: self.home}

    def partition(self, tag: str) -> Partition:
        """The partition under a hash tag."""
        found = self._shards.get(tag)
        if found is None:
            found = self._shards[tag] = Partition(self.space, self.name, tag)
        return found

    def learn(self, topology: bytes, tags: list[str]) -> None:
        """Take over what the server said about partitions and shards."""
        numbered = {self.home.tag: 0}
        for tag in tags:
            name, _, number = tag.rpartition("/")
            if name == self.name and number.partition(".")[0].isdecimal():
                numbered[tag] = int(number.partition(".")[0])
        self.own = tuple(self.partition(tag) for tag in sorted(numbered, key=lambda tag: numbered[tag]))
        self.partitions = (*self.own, *(self.partition(tag) for tag in sorted(set(tags) - set(numbered))))
        self.topology = topology
        before = (topology.split(b":") + [b"0"] * 3)[2]
        self.before = int(before) if before.isdigit() else 0

    def owner(self, text: str, count: int = 0) -> Partition:
        """The partition that a message group (FIFO) or deduplication id (standard) belongs to, or belonged to when
        there were `count` of them (lua/lib/partition.lua)."""
        own = self.own
        if len(own) == 1:
            return self.home
        number = int(hashlib.sha1(text.encode()).hexdigest()[:8], 16)
        return own[number % (count if 0 < count < len(own) else len(own))]

    def next_own(self) -> Partition:
        """The partitions for messages without one, in turn."""
        self.sends += 1
        own = self.own
        return own[self.sends % len(own)]

    def in_turn(self, first: Partition | None = None) -> tuple[Partition, ...]:
        """All partitions, beginning with `first` or the next one."""
        partitions = self.partitions
        if first in partitions:
            n = partitions.index(first)
        else:
            self.turn += 1
            n = self.turn % len(partitions)
        return partitions[n:] + partitions[:n]

    def __repr__(self) -> str:
        return f"QueueRef({self.name!r})"


class Keyspace:
    """All queues under one key prefix.

    Args:
        prefix: what all keys begin with.
        clock: tests only: the time scripts shall believe in.
        format_of: the prefix whose format its keys have; None = it has one of its own.
        most_queues: that are remembered.
    """

    def __init__(
        self,
        prefix: str = "rqsqs",
        clock: Clock | None = None,
        *,
        format_of: str | None = None,
        most_queues: int = 10_000,
    ) -> None:
        self.prefix = prefix
        self.clock = clock
        self.queue = functools.lru_cache(maxsize=most_queues)(self._queue)
        self.names = f"{prefix}:{{queues}}:names"
        self.created = f"{prefix}:{{queues}}:created"
        self.format = f"{format_of or prefix}:{{queues}}:format"
        self.sampler = f"{prefix}:{{queues}}:sampler"
        self.memory = f"{prefix}:{{queues}}:memory"
        self.is_whole = format_of is None  # not of an account below another prefix
        self._alarms = f"{prefix}:{{alarms}}:"
        self.events = f"{prefix}:{{events}}:stream"
        self.sessions = f"{prefix}:{{sessions}}"
        self.actor: Actor | None = None  # who uses these keys; None = a program, by the native API
        self.check_action: Callable[[str], object] | None = None  # by an actions file: raises InvalidParameterValue

    def told(self, about: str) -> str:
        """The key that stands while an event of something is not told again (lua/add_event.lua)."""
        return f"{self.prefix}:{{events}}:told:{about}"

    def session(self, digest: str) -> str:
        """The key of a session of the console."""
        return f"{self.sessions}:{digest}"

    def login(self, digest: str) -> str:
        """The key that counts how often somebody tries to log in to the console."""
        return f"{self.prefix}:{{logins}}:{digest}"

    def everywhere(self) -> list[str]:
        """Keys in so many parts of all hash slots that each master of a cluster has one of them."""
        found: dict[int, str] = {}
        for n in itertools.count():
            tag = f"memory/{n}"
            found.setdefault(_slot(tag) * PARTS // SLOTS, f"{self.prefix}:{{{tag}}}:memory")
            if len(found) == PARTS:
                return list(found.values())
        raise AssertionError

    def _queue(self, name: str) -> QueueRef:
        return QueueRef(self, name)

    def alarms(self, names: str) -> tuple[str, ...]:
        """Full names of the keys `names` (separated by blanks) of alarms."""
        return tuple([self._alarms + name for name in names.split()])

    def alarm_history(self, alarm: str) -> str:
        """The key with the history of an alarm."""
        return f"{self._alarms}history:{alarm}"

    def rule_history(self, rule: str) -> str:
        """The key with the history of a rule for events."""
        return f"{self._alarms}rule_history:{rule}"

    def queue_of(self, key: str) -> str | None:
        """The queue that a key belongs to; None = it is no key of a queue under this prefix."""
        base, tag, rest = f"{self.prefix}:{{", *key.removeprefix(f"{self.prefix}:{{").partition("}:")[::2]
        queue, colon, _ = rest.partition(":")
        return queue if key.startswith(base) and "/" in tag and queue and colon else None

    def now_us(self) -> str:
        """The first argument of every script: "" lets the server read its clock."""
        return "" if self.clock is None else str(self.clock.now_us())
