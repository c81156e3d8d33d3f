"""Flows: everything that takes more than one step, as generators of operations and waits.

A runner drives a flow: it sends each result back and throws each error in. Flows trust their parameters: ranges and
formats are the business of the APIs.
"""

from rqsqs._core.flows.browse import browse, cancel, counts, find_damage, groups, peek, reschedule
from rqsqs._core.flows.chosen_moves import move_chosen
from rqsqs._core.flows.consumers import beat, finish, finish_and_receive, list_consumers, order_consumer, release
from rqsqs._core.flows.moves import cancel_move, drive_move, list_moves, start_move
from rqsqs._core.flows.queues import (
    create_queue,
    dead_letter_sources,
    delete_queue,
    get_tags,
    list_queues,
    pause,
    purge_queue,
    queue_exists,
    queue_info,
    remove_tags,
    set_attributes,
    set_tags,
    update_policy,
)
from rqsqs._core.flows.receive import (
    MOST_BESIDE,
    DeleteAndReceive,
    Receive,
    ReceiveSpec,
    delete_and_receive,
    readable,
    receive_messages,
)
from rqsqs._core.flows.send import SendOne, send_messages
from rqsqs._core.flows.settle import CHANGED, DELETED, DeleteOne, change_visibility, delete_messages

__all__ = [
    "CHANGED",
    "DELETED",
    "MOST_BESIDE",
    "DeleteAndReceive",
    "DeleteOne",
    "Receive",
    "ReceiveSpec",
    "SendOne",
    "beat",
    "browse",
    "cancel",
    "cancel_move",
    "change_visibility",
    "counts",
    "create_queue",
    "dead_letter_sources",
    "delete_and_receive",
    "delete_messages",
    "delete_queue",
    "drive_move",
    "find_damage",
    "finish",
    "finish_and_receive",
    "get_tags",
    "groups",
    "list_consumers",
    "list_moves",
    "list_queues",
    "move_chosen",
    "order_consumer",
    "pause",
    "peek",
    "purge_queue",
    "queue_exists",
    "queue_info",
    "readable",
    "receive_messages",
    "release",
    "remove_tags",
    "reschedule",
    "send_messages",
    "set_attributes",
    "set_tags",
    "start_move",
    "update_policy",
]
