"""The pages and what can be done on them: paths -> functions."""

from __future__ import annotations

from . import alarms, events, login, queue, queues, theme

PAGES = {
    "/": queues.index,
    "/login": login.show,
    "/queues/{queue}": queue.overview,
    "/alarms": alarms.index,
    "/alarms/{alarm:path}": alarms.show,
    "/events": events.index,
}
ACTIONS = {  # what changes something
    "/queues": queues.create,
    "/queues/{queue}/purge": queue.purge,
    "/queues/{queue}/delete": queue.delete,
    "/alarms": alarms.put,
    "/alarms/defaults": alarms.put_defaults,
    "/alarms/{alarm:path}/change": alarms.change,
}
PREFERENCES = {  # what a browser remembers
    "/login": login.enter,
    "/logout": login.leave,
    "/theme": theme.choose,
}
