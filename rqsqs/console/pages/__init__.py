"""The pages and what can be done on them: paths -> functions."""

from __future__ import annotations

from . import (
    alarms,
    consumers,
    dead_letters,
    events,
    groups,
    login,
    message,
    messages,
    moves,
    queue,
    queues,
    receiving,
    sending,
    theme,
)

PAGES = {
    "/": queues.index,
    "/login": login.show,
    "/queues/{queue}": queue.overview,
    "/queues/{queue}/dead-letters": dead_letters.of_queue,
    "/queues/{queue}/dead-letters/messages": dead_letters.messages,
    "/queues/{queue}/redrive": dead_letters.redrive_form,
    "/queues/{queue}/moves": moves.of_queue,
    "/queues/{queue}/groups": groups.of_queue,
    "/queues/{queue}/consumers": consumers.of_queue,
    "/dead-letters": dead_letters.of_all,
    "/moves": moves.of_all,
    "/consumers": consumers.of_all,
    "/alarms": alarms.index,
    "/alarms/{alarm:path}": alarms.show,
    "/events": events.index,
    "/queues/{queue}/messages": messages.index,
    "/queues/{queue}/messages/{message}": message.detail,
    "/queues/{queue}/send": sending.form,
    "/queues/{queue}/receive": receiving.form,
}
FILES = {  # what is saved
    "/queues/{queue}/messages/{message}/body": message.body,
    "/queues/{queue}/messages/{message}/line": message.line,
}
ACTIONS = {  # what changes something
    "/queues": queues.create,
    "/queues/{queue}/purge": queue.purge,
    "/queues/{queue}/delete": queue.delete,
    "/queues/{queue}/pause": queue.pause,
    "/queues/{queue}/resume": queue.resume,
    "/queues/{queue}/redrive": dead_letters.redrive,
    "/queues/{queue}/redrive/messages": dead_letters.redrive_chosen,
    "/queues/{queue}/moves/cancel": moves.cancel,
    "/queues/{queue}/groups/pause": groups.pause,
    "/queues/{queue}/groups/resume": groups.resume,
    "/queues/{queue}/consumers/drain": consumers.drain,
    "/queues/{queue}/consumers/evict": consumers.evict,
    "/alarms": alarms.put,
    "/alarms/defaults": alarms.put_defaults,
    "/alarms/{alarm:path}/change": alarms.change,
    "/queues/{queue}/cancel": messages.cancel,
    "/queues/{queue}/run-now": messages.run_now,
    "/queues/{queue}/reschedule": messages.reschedule,
    "/queues/{queue}/send": sending.send,
    "/queues/{queue}/receive": receiving.receive,
    "/queues/{queue}/held/delete": receiving.delete,
    "/queues/{queue}/held/release": receiving.release,
    "/queues/{queue}/held/hold": receiving.hold,
}
PREFERENCES = {  # what a browser remembers
    "/login": login.enter,
    "/logout": login.leave,
    "/theme": theme.choose,
}
