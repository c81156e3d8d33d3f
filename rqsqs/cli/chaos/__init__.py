"""`rqsqs chaos`: does a set-up keep what a queue promises, whatever breaks?

    history.py   what producers and consumers were told, and the proof that it fits together
    roles.py     a producer and a consumer, each a process that writes down what it was told
    trial.py     a run of both while things break: processes are killed and frozen, commands of the user are run

Every acknowledged send is delivered; no message is delivered after its delete was acknowledged; a FIFO group is
delivered in order and to one consumer at a time. What a set-up admits nevertheless (docs/guarantees.md) the report
counts. Not part of the library's interface.
"""
