"""Flows: everything that takes more than one step, as generators of operations and waits.

A runner drives a flow: it sends each result back and throws each error in. Flows trust their parameters: ranges and
formats are the business of the APIs. Where one operation is all, it stands here itself. If not said otherwise, they
raise QueueDoesNotExist.
"""

from rqsqs._core.flows.browse import (
    browse,
    browse_group,
    cancel,
    counts,
    find,
    find_damage,
    groups,
    groups_page,
    look_at_groups,
    partition_counts,
    peek,
    reschedule,
)
from rqsqs._core.flows.consumers import beat, begin, finish, finish_and_receive, order_consumer, release
from rqsqs._core.flows.events import tell
from rqsqs._core.flows.metrics import Doubt, all_metrics, doubts, metrics, metrics_of_those_there
from rqsqs._core.flows.moves import cancel_move, drive_move, list_moves, move_chosen, start_chosen, start_move
from rqsqs._core.flows.queues import (
    create_queue,
    delete_queue,
    pause,
    purge_queue,
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
    receive,
    receive_messages,
)
from rqsqs._core.flows.send import SendOne, SendWithOptions, send_for_each, send_messages
from rqsqs._core.flows.settle import CHANGED, DELETED, DeleteOne, change_visibility, delete_messages
from rqsqs._core.flows.topology import whole
from rqsqs._core.flows.waiting import holding
from rqsqs._core.operations.consumers import list_consumers
from rqsqs._core.operations.queues import dead_letter_sources, get_queue, get_tags, list_queues
