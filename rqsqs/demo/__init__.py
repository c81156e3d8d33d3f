"""`rqsqs demo`: a cache that is kept up to date through a FIFO queue.

    operations.py   what is to be done to the cache, made from real files, and what the cache must hold in the end
    cache_job.py    the application: producers that send operations, workers that apply them
    show.py         the show: runs both as processes, sends twice, poisons, kills, repairs, and compares

`examples/cache_job/` is the same application without the show, to be copied. Not part of the library's interface.
"""
