"""How many functions of our own Python code one call of the native API enters: most of what a client costs."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import rqsqs

PACKAGE = str(Path(rqsqs.__file__).parent) + os.sep


def count(call: Callable[[], Any]) -> int:
    """Functions and coroutines of ours that are entered; redis-py's and those written in C are not ours."""
    frames: list[FrameType] = []  # kept, so that each is another object

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE) and frame not in frames:
            frames.append(frame)

    gc.collect()
    gc.disable()  # what others left behind does not end in the middle
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        gc.enable()
    return len(frames)


def measure(url: str) -> dict[str, int]:
    """Own calls of each operation on a standard queue that was used before."""
    with rqsqs.connect(url) as connection:
        queue = connection.create_queue("bench-calls")
        for _ in range(4):
            queue.send("warm")
        for message in queue.receive(4):
            message.delete()
        assert queue.receive() == []
        found: dict[str, int] = {"send": count(lambda: queue.send("body"))}
        queue.send("more")
        messages: list[rqsqs.Message] = []
        found["receive"] = count(lambda: messages.extend(queue.receive()))
        found["delete and receive"] = count(lambda: messages.extend(queue.delete_and_receive(messages[:1])[0]))
        found["delete"] = count(lambda: messages[1].delete())
        assert queue.counts().visible == 0
        return found
