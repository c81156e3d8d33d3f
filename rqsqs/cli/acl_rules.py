"""ACL rules of Redis and Valkey for each kind of program.

Scripts run with the rights of the user that calls them, command by command. So the rules of a role allow the commands
that its scripts contain, found in the scripts themselves, and no others. SCRIPT LOAD lets any script in, and that is
the power left to a role: its commands, in any order, on all of its keys. What a policy forbids (rqsqs/gateway) is
another matter: Redis does not know them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rqsqs._core import scripts
from rqsqs._core.keys import Keyspace
from rqsqs.errors import InvalidParameterValue
from rqsqs.sqs.names import is_queue_name

_COMMAND = re.compile(r'\bp?call\(\s*"([A-Z]+)"')

_EVERYBODY = ("get_queue", "get_members", "forget_answer", "mark_connection", "find_damage")
_SEND = ("send_message", "send_message_fifo", "wake_waiter")
_RECEIVE = (
    "receive_message", "receive_message_fifo", "delete_message", "delete_message_fifo", "change_message_visibility",
    "change_message_visibility_fifo", "wake_waiter", "count_empty_receives", "put_shard", "attach_source",
)  # fmt: skip
_WORK = (
    "release_message", "release_message_fifo", "beat_consumer", "begin_message", "clear_outbox", "end_handover",
    "get_queue_tags",
)  # fmt: skip
_LOOK = ("count_messages", "count_messages_fifo", "get_queue_tags", "list_consumers", "list_groups", "list_queues",
         "look_at_groups", "list_message_move_tasks", "read_history", "read_alarms", "read_alarm_health", "read_events",
         "read_memory", "read_memory_history", "read_timeline")  # fmt: skip
_SAMPLE = ("take_lease", "append_history", "pack_history", "add_event", "read_memory", "append_memory")

_EVALUATE = (
    "set_alarm_state", "mark_evaluation", "read_alarm_actions", "claim_alarm_actions", "release_alarm_actions",
    "settle_alarm_action", "read_event_rules", "put_rule_actions",
)  # fmt: skip

_CONNECTION = ("evalsha", "script|load", "time", "ping", "select", "client|setname", "client|id", "cluster|slots")
_WAITING = ("blpop", "exists", "client|unblock", "client|tracking", "client|caching")
_WATCHING = ("info", "config|get", "acl|whoami", "script|exists", "memory|usage", "latency|latest", "client|list")


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of program.

    Attributes:
        purpose: what it does.
        power: what its user can do besides, with scripts of its own.
        scripts: those of rqsqs that it runs; None = all.
        commands: that it sends itself, besides those that every connection sends.
        writes_only_format: whether it writes nothing but the format number of the data.
    """

    purpose: str
    power: str
    scripts: tuple[str, ...] | None
    commands: tuple[str, ...] = ()
    writes_only_format: bool = False


ROLES = {
    "producer": Role(
        "sends messages",
        "read, overwrite and remove messages and settings of its queues (HGET, HSET, UNLINK)",
        (*_EVERYBODY, *_SEND),
        ("wait",),
    ),
    "consumer": Role(
        "receives, extends and deletes messages",
        "send messages, and read, overwrite and remove everything of its queues",
        (*_EVERYBODY, *_RECEIVE),
        (*_WAITING, "wait"),
    ),
    "worker": Role(
        "runs `rqsqs worker`: receives, handles, retries, tells how it is, and sends",
        "read, overwrite and remove everything of its queues; read INFO",
        (*_EVERYBODY, *_SEND, *_RECEIVE, *_WORK, *_LOOK, *_SAMPLE, *_EVALUATE),
        (*_WAITING, "wait"),
    ),
    "gateway": Role(
        "runs `rqsqs gateway`: every action, for every account",
        "read, overwrite and remove everything of every queue and account; read INFO",
        None,
        (*_WAITING, "wait"),
    ),
    "evaluator": Role(
        "runs `rqsqs alarms run`: evaluates alarms, does their actions, and writes the history of queues",
        "send messages, and read, overwrite and remove everything under the prefix; read INFO",
        (*_EVERYBODY, *_SEND, *_LOOK, *_SAMPLE, *_EVALUATE),
        ("wait",),
    ),
    "exporter": Role(
        "reads numbers for monitoring",
        "read all messages and settings, and INFO",
        (*_EVERYBODY, *_LOOK),
        ("info",),
        writes_only_format=True,
    ),
    "admin": Role(
        "runs the commands of rqsqs, doctor included",
        "read, overwrite and remove everything under the prefix, and read the server's configuration",
        None,
        (*_WAITING, *_WATCHING, "wait"),
    ),
}  # fmt: skip

_WRITES = frozenset(
    ("DEL", "HDEL", "HINCRBY", "HSET", "HSETNX", "INCR", "LINSERT", "LPOP", "LPUSH", "LREM", "LSET", "LTRIM", "PEXPIRE",
     "RPUSH", "SADD", "SET", "SPOP", "SREM", "UNLINK", "ZADD", "ZPOPMIN", "ZREM", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE",
     "XADD", "XTRIM")
)  # fmt: skip


def rules(role: str, prefix: str, queues: Sequence[str] = ()) -> list[str]:
    """The rules of a role, as ACL SETUSER takes them.

    Args:
        role: one of ROLES.
        prefix: of all keys.
        queues: names of the only queues it may use; none = all.

    Raises:
        InvalidParameterValue: there cannot be such a queue, or such a prefix in a rule.
    """
    found = ROLES[role]
    if any(char in prefix for char in " *?[]\\\t\n"):
        raise InvalidParameterValue(f"prefix must have no blank and none of *?[]\\ in a rule, got {prefix!r:.80}")
    for queue in queues:
        if not is_queue_name(queue):
            raise InvalidParameterValue(f"a queue must have a name of SQS for a rule of an ACL, got {queue!r:.80}")
    space = Keyspace(prefix)
    if queues:
        keys = [f"~{prefix}:{{{queue}/*}}:*" for queue in queues]
        keys += [f"~{prefix}:{{*}}:{queue}:*" for queue in queues]  # dead letters lie with the queues they come from
        keys += [f"%R~{space.names}", f"%R~{space.created}", f"~{space.format}"]
    else:
        keys = [f"~{prefix}:*", *([f"~{prefix}/*"] if role == "gateway" else [])]
    commands = {command for name in found.scripts or scripts.names() for command in commands_of(name)}
    commands |= {"SET", "GET"}  # the format number
    rest = []
    if found.writes_only_format:
        commands -= _WRITES
        rest = [f"(+set ~{space.format})"]
    ordered = sorted({*(each.lower() for each in commands), *_CONNECTION, *found.commands})
    return ["reset", "on", *keys, "-@all", *(f"+{each}" for each in ordered), *rest]


def commands_of(script: str) -> frozenset[str]:
    """The commands that a script contains."""
    return frozenset(_COMMAND.findall(scripts.get(script).source))
