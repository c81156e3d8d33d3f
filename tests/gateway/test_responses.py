"""How responses are written: the head together with the body, unless it is a stream."""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn")

from rqsqs.gateway.http_protocol import _Joining


class Transport:
    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.seen.append(data)

    def close(self) -> None:
        self.seen.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.seen


class Cycle:
    """A request of uvicorn."""

    def __init__(self, *, is_chunked: bool) -> None:
        self.response_started = True
        self.chunked_encoding = is_chunked
        self.ended = 0

    def on_response(self) -> None:
        self.ended += 1


def written(is_chunked: bool) -> tuple[Transport, Cycle, _Joining]:
    transport, cycle = Transport(), Cycle(is_chunked=is_chunked)
    return transport, cycle, _Joining(transport, cycle)


def test_a_head_goes_with_its_body() -> None:
    transport, cycle, joining = written(False)
    for part in (b"head ", b"body", b"more"):
        joining.write(part)
    cycle.on_response()
    assert (transport.seen, cycle.ended) == ([b"head body", b"more"], 1)


def test_a_stream_begins_at_once() -> None:
    transport, _, joining = written(True)
    joining.write(b"head")
    assert transport.seen == [b"head"]
    joining.write(b"part")
    assert transport.seen == [b"head", b"part"]


def test_what_comes_before_the_head_goes_at_once() -> None:
    transport, cycle, joining = written(False)
    cycle.response_started = False
    joining.write(b"100 Continue")
    assert transport.seen == [b"100 Continue"]
    cycle.response_started = True
    joining.write(b"head ")
    joining.write(b"body")
    assert transport.seen == [b"100 Continue", b"head body"]


def test_a_head_without_a_body_goes_when_the_response_ends() -> None:
    transport, cycle, joining = written(False)
    joining.write(b"head")  # of an answer to HEAD
    cycle.on_response()
    assert (transport.seen, cycle.ended) == ([b"head"], 1)


def test_a_head_goes_before_the_connection_is_closed() -> None:
    transport, _, joining = written(False)
    joining.write(b"head")
    joining.close()
    assert transport.seen == [b"head", b"closed"]
    assert joining.is_closing()
    joining._flush()
    assert transport.seen == [b"head", b"closed"]
