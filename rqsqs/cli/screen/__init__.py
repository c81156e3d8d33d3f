"""The screen of `rqsqs top`.

reader    looks at the queues, in a thread of its own
state     what is shown and chosen: keys change it
painting  lines from that, as many as there is room for; detail: those of one queue
trends    what the last looks said, and sparklines of it
terminal  keys and the mouse come from it, lines go there
"""
