"""How many connections, and how long: the numbers that both variants of the runner go by."""

from __future__ import annotations

# Connections to one server.
OWN = 5  # each for one call or waiter at a time; further calls share one
BLOCKING = 4  # that block, each for one partition; further waiters share one (tracking.py)
DURABLE = 16  # on which sends wait until they are safe enough
IDLE_CHECK_S = 0.5  # a connection that rested longer is looked at before it is used
HUB_REST_S = 60.0  # after the last waiter, the connection to listen is kept for this time
RETURN_S = 0.25  # a call that waits for a durable connection looks this often
BLOCK_TURNS = 20  # ms that a waiter that may block waits for a connection

# Attempts of one call.
OPENING_S = 5.0  # a server must have answered within this time in all, by default
RETRY_AFTER_S = (0.0, 0.1, 0.4)  # pauses before it is tried again on a new connection
FAILOVER_S = 30.0  # it is tried again for this time where another server may take over
COVERED_S = 100.0  # it may be repeated for this time: its call slot still knows it (lua/lib/idempotency.lua)
LOADS = 4  # times that a script is loaded again, if scripts are flushed meanwhile

# Answers and waiting.
ASK_S = 2.0  # limit for a server to tell where others are
FRESH_S = 0.2  # what was learned this recently is not asked for again
GRACE_S = 10.0  # a blocking command may answer this much later than it promised
WATCHDOG_S = 5.0  # a waiter checks this often whether it waits for the right server, where that may change
END_S = 5.0  # close() gives waiting calls this time to return
TEST_WAIT_MS = 50  # under a test clock, which may be moved between two steps, waiters look again this often
