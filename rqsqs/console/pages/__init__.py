"""The pages and what can be done on them: paths -> functions."""

from __future__ import annotations

from . import queue, queues, theme

PAGES = {
    "/": queues.index,
    "/queues/{queue}": queue.overview,
}
ACTIONS = {  # what changes something
    "/queues": queues.create,
    "/queues/{queue}/purge": queue.purge,
    "/queues/{queue}/delete": queue.delete,
}
PREFERENCES = {  # what a browser remembers
    "/theme": theme.choose,
}
