"""What each page and each button needs: the one table that the console asks before it does anything.

Permissions are those of policies. `sqs:...` means what it does at the gateway, `rqsqs:...` is what SQS has no name
for. Templates ask `visit.may_do(path)`, which looks here, so that what is not allowed is not shown either.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOK_INTO = "rqsqs:PeekMessages or sqs:ReceiveMessage"  # at bodies
MOVE = ("sqs:StartMessageMoveTask", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")


@dataclass(frozen=True, slots=True)
class Needs:
    """What somebody needs for a page or an action.

    Attributes:
        does: what it does, as the table in docs/console.md says it.
        permissions: all of them; `A or B` is one that A or B gives. They are about the queue of the path, else about
            the account.
        is_named_later: what it is about stands in the form: it must be allowed somewhere, and the function asks
            `visit.require` when it knows where.
        is_for_all: nobody has to be logged in.
    """

    does: str
    permissions: tuple[str, ...] = ()
    is_named_later: bool = False
    is_for_all: bool = False

    @property
    def name(self) -> str:
        """The first permission, as events of what was denied have it: PurgeQueue."""
        return self.permissions[0].partition(" or ")[0].partition(":")[2] if self.permissions else self.does


NO_NEEDS = Needs("see that there is no such page")


def _needs(does: str, *permissions: str, is_named_later: bool = False) -> Needs:
    return Needs(does, permissions, is_named_later)


NEEDS: dict[str, Needs] = {  # after a change here, `python tools/console_permissions.py` writes the table in the docs
    "GET /": _needs("see the names of queues, and the numbers of those that are allowed"),
    "GET /login": Needs("see where to log in", is_for_all=True),
    "POST /login": Needs("log in", is_for_all=True),
    "POST /logout": _needs("log out"),
    "GET /sessions": _needs("see one's own sessions, with rqsqs:ListSessions those of all users of the account"),
    "POST /sessions/end": _needs("end one's own sessions, with rqsqs:EndSessions those of others"),
    "POST /theme": _needs("choose light or dark"),
    "POST /columns": _needs("choose the columns of the list of queues"),
    "POST /queues": _needs("create a queue", "sqs:CreateQueue", is_named_later=True),
    "GET /queues/{queue}": _needs("see the numbers and charts of a queue", "sqs:GetQueueAttributes"),
    "POST /queues/{queue}/purge": _needs("remove all messages", "sqs:PurgeQueue"),
    "POST /queues/{queue}/delete": _needs("delete a queue", "sqs:DeleteQueue"),
    "GET /queues/{queue}/settings": _needs(
        "see settings and partitions, with sqs:ListQueueTags tags, with sqs:ListDeadLetterSourceQueues whose dead "
        "letters are there",
        "sqs:GetQueueAttributes",
    ),
    "POST /queues/{queue}/settings": _needs("change settings", "sqs:SetQueueAttributes"),
    "POST /queues/{queue}/sources": _needs("say whose dead letters may come to a queue", "sqs:SetQueueAttributes"),
    "POST /queues/{queue}/tags": _needs("set a tag", "sqs:TagQueue", is_named_later=True),
    "POST /queues/{queue}/untag": _needs("remove a tag", "sqs:UntagQueue", is_named_later=True),
    "GET /queues/{queue}/policy": _needs("see the policy of a queue", "sqs:GetQueueAttributes"),
    "POST /queues/{queue}/policy/try": _needs(
        "try a policy: about other users than oneself only the root user of the account is told",
        "sqs:GetQueueAttributes",
    ),
    "POST /queues/{queue}/policy": _needs("change the policy of a queue", "sqs:SetQueueAttributes"),
    "GET /queues/{queue}/messages": _needs("look at messages and search them", LOOK_INTO),
    "GET /queues/{queue}/messages/{message}": _needs(
        "see a message in full, and what happened to it here, and elsewhere where messages may be seen", LOOK_INTO
    ),
    "GET /queues/{queue}/messages/{message}/body": _needs("save a body", LOOK_INTO),
    "GET /queues/{queue}/messages/{message}/line": _needs("save a message", LOOK_INTO),
    "POST /queues/{queue}/cancel": _needs("remove messages that nobody has received", "rqsqs:CancelMessage"),
    "POST /queues/{queue}/run-now": _needs("make messages visible now", "rqsqs:RescheduleMessage"),
    "POST /queues/{queue}/reschedule": _needs("give messages another time", "rqsqs:RescheduleMessage"),
    "GET /queues/{queue}/send": _needs("see the form for sending; of a copy, what is in it, too", "sqs:SendMessage"),
    "POST /queues/{queue}/send": _needs("send a message", "sqs:SendMessage"),
    "GET /queues/{queue}/receive": _needs("see the form for receiving", "sqs:ReceiveMessage"),
    "POST /queues/{queue}/receive": _needs("receive messages as a consumer", "sqs:ReceiveMessage"),
    "POST /queues/{queue}/held/delete": _needs("delete what was received", "sqs:ReceiveMessage", "sqs:DeleteMessage"),
    "POST /queues/{queue}/held/release": _needs(
        "release what was received", "sqs:ReceiveMessage", "sqs:ChangeMessageVisibility"
    ),
    "POST /queues/{queue}/held/hold": _needs(
        "hold what was received for another time", "sqs:ReceiveMessage", "sqs:ChangeMessageVisibility"
    ),
    "POST /queues/{queue}/pause": _needs("pause a queue", "rqsqs:PauseQueue"),
    "POST /queues/{queue}/resume": _needs("resume a queue", "rqsqs:PauseQueue"),
    "GET /dead-letters": _needs(
        "see the dead-letter queues whose dead letters are allowed to be seen, with sqs:ListDeadLetterSourceQueues "
        "whose they are"
    ),
    "GET /queues/{queue}/dead-letters": _needs(
        "see what dead letters died of, with sqs:ListDeadLetterSourceQueues whose can come", LOOK_INTO
    ),
    "GET /queues/{queue}/dead-letters/messages": _needs("see the dead letters of a cause", LOOK_INTO),
    "GET /queues/{queue}/redrive": _needs("see what a redrive would move", "sqs:StartMessageMoveTask", LOOK_INTO),
    "POST /queues/{queue}/redrive": _needs(
        "redrive dead letters, all or those of a cause; sqs:SendMessage where they go", *MOVE
    ),
    "POST /queues/{queue}/redrive/messages": _needs(
        "redrive chosen dead letters; sqs:SendMessage where they go", *MOVE
    ),
    "GET /moves": _needs("see the moves out of queues where that is allowed"),
    "GET /queues/{queue}/moves": _needs("see the moves out of a queue", "sqs:ListMessageMoveTasks"),
    "POST /queues/{queue}/moves/cancel": _needs("cancel a move", "sqs:CancelMessageMoveTask", *MOVE[1:]),
    "GET /queues/{queue}/groups": _needs("see message groups, and who blocks them", "rqsqs:ListGroups"),
    "POST /queues/{queue}/groups/pause": _needs("pause a message group", "rqsqs:PauseQueue"),
    "POST /queues/{queue}/groups/resume": _needs("resume a message group", "rqsqs:PauseQueue"),
    "GET /consumers": _needs("see the consumers of queues where that is allowed"),
    "GET /queues/{queue}/consumers": _needs("see the consumers of a queue, and what they hold", "rqsqs:ListConsumers"),
    "POST /queues/{queue}/consumers/drain": _needs("drain a consumer", "rqsqs:ControlConsumers"),
    "POST /queues/{queue}/consumers/evict": _needs("evict a consumer", "rqsqs:ControlConsumers"),
    "GET /alarms": _needs("see alarms and their states", "cloudwatch:DescribeAlarms"),
    "POST /alarms": _needs(
        "set an alarm, whose actions may send to a queue only with sqs:SendMessage there",
        "cloudwatch:PutMetricAlarm or cloudwatch:PutCompositeAlarm",
        is_named_later=True,
    ),
    "POST /alarms/defaults": _needs(
        "set the alarms worth having for a queue", "cloudwatch:PutMetricAlarm", is_named_later=True
    ),
    "GET /alarms/{alarm:path}": _needs(
        "see an alarm, with cloudwatch:DescribeAlarmHistory what happened to it, with cloudwatch:GetMetricData or "
        "sqs:GetQueueAttributes of its queues what it measures",
        "cloudwatch:DescribeAlarms",
    ),
    "POST /alarms/{alarm:path}/change": _needs(
        "test an alarm (cloudwatch:SetAlarmState), let its actions be done or not (cloudwatch:EnableAlarmActions, "
        "cloudwatch:DisableAlarmActions), delete it (cloudwatch:DeleteAlarms)",
        "cloudwatch:SetAlarmState or cloudwatch:EnableAlarmActions or cloudwatch:DisableAlarmActions or "
        "cloudwatch:DeleteAlarms",
        is_named_later=True,
    ),
    "GET /events": _needs("see what was done, and by whom", "rqsqs:ListEvents"),
    "GET /server": _needs(
        "see the server: findings, those about queues with sqs:GetQueueAttributes, memory, replication, slow calls "
        "without arguments, who evaluates alarms",
        "rqsqs:DescribeServer",
    ),
}


def needs_of(method: str, path: str) -> Needs:
    """What a route needs.

    Raises:
        LookupError: the table does not say.
    """
    try:
        return NEEDS[f"{method} {path}"]
    except KeyError:
        raise LookupError(f"{method} {path} must stand in the table of rqsqs/console/permissions.py") from None
