"""`rqsqs demo`: a cache that is kept up to date through a FIFO queue.

cache_job/      the application: the files of examples/cache_job, which the package brings along
application.py  its worker and producers as the show runs them: they count, and some send twice
operations.py   what is to be done to the cache, made from real files, and what the cache must hold in the end
counters.py     what the processes did, and what is in the cache
show.py         the command: runs them, kills, repairs, and compares
"""

from pathlib import Path

CACHE_JOB = Path(__file__).with_name("cache_job")
BEAT_S = 1.0  # the show does not want to wait long until messages of a dead worker come again
PRODUCERS, WORKERS = 2, 4
