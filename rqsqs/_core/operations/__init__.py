"""What scripts are asked to do: builders of their arguments and parsers of their replies, one module per subject."""

from rqsqs._core.operations.receive import (
    CHECK_EVERY,
    RECEIVE,
    RECEIVE_FIFO,
    Received,
    count_empty_receives,
    fifo_history,
    give_back,
    history,
    key_text,
    not_received,
    pass_over,
    receive_messages,
    stamp_text,
    wake_waiter,
    watch,
    watch_all,
)
from rqsqs._core.operations.send import MIN_WINDOW_MS, SEND, SEND_FIFO, Moved, dedup_tail, parse_sent, send_messages
from rqsqs._core.operations.settle import (
    CHANGE,
    CHANGE_FIFO,
    CHANGED,
    DEAD_LETTERED,
    DELETE,
    DELETE_FIFO,
    EXPIRED,
    GONE,
    MISSING_DLQ,
    Outcome,
    change_visibility,
    delete_messages,
    forget_answer,
    mark_connection,
    release_messages,
)
