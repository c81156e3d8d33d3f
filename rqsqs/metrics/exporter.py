"""One scrape: reads the metrics of all queues, and writes them for Prometheus.

Scrapes at the same time share one reading, and so do those of one second. What is read and written is done in parts,
between which the event loop does other things. A server that does not answer in time is no failed scrape: it answers
`rqsqs_up 0`, and the metrics of the process itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import NamedTuple
from urllib.parse import parse_qsl

import rqsqs
from rqsqs.errors import RqsqsError
from rqsqs.metric_models import QueueMetrics

from . import prometheus
from .exposition import END, Family, Format, format_for, labels, takes_gzip
from .listener import Request, Response

log = logging.getLogger("rqsqs.metrics")

PATH, LIVE = "/metrics", "/livez"
MOST_S = 8.0  # for reading: Prometheus gives a scrape ten seconds
SHARED_S = 1.0  # for which a reading is good
MANY = 200  # queues, of which more are written without histograms
VARY = {"Vary": "Accept, Accept-Encoding"}
GZIP_LEVEL = 1  # half as small as the best takes a fifth of its time

UP = Family("rqsqs_up", "gauge", "Whether the server answered this scrape.")
BUILD = Family("rqsqs_build", "info", "The version of rqsqs that answers.")
DURATION = Family("rqsqs_scrape_duration_seconds", "gauge", "How long it took to read the queues.")

Read = Callable[[], Awaitable[list[QueueMetrics]]]
Samples = tuple[Family, Sequence[tuple[str, float]]]  # suffix and labels as text, and the value


class Scrape(NamedTuple):
    """What a scraper asks.

    Attributes:
        with_histograms: None = if there are not too many queues.
        with_queues: False = what the process tells of itself is enough, as another one is asked for the queues.
        within: seconds in which it wants an answer.
    """

    format: Format
    with_histograms: bool | None = None
    with_created: bool = False
    is_gzipped: bool = False
    within: float = MOST_S
    with_queues: bool = True


def scrape_of(query: str, headers: Mapping[str, str]) -> Scrape:
    """What a request asks.

    Args:
        query: the part of the URL behind the question mark.
        headers: with names in lower case.

    Raises:
        ValueError: it cannot be understood.
    """
    given = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=20))
    for name in ("histograms", "created", "queues"):
        if given.get(name, "0") not in ("0", "1"):
            raise ValueError(f"{name} must be 0 or 1, got {given[name]!r:.40}")
    try:
        within = 0.8 * float(headers.get("x-prometheus-scrape-timeout-seconds", "10"))
    except ValueError:
        within = MOST_S
    return Scrape(
        format_for(headers.get("accept", "")),
        given["histograms"] == "1" if "histograms" in given else None,
        given.get("created") == "1",
        takes_gzip(headers.get("accept-encoding", "")),
        min(within, MOST_S) if within > 0 else MOST_S,
        given.get("queues") != "0",
    )


class Exporter:
    """Answers scrapes, in one event loop.

    Args:
        read: reads the metrics of all queues; None = there are no queues to read.
        of_process: metrics of the process that answers.
    """

    def __init__(self, read: Read | None, of_process: Callable[[], Iterable[Samples]] = tuple) -> None:
        self._read = read
        self._of_process = of_process
        self._reading: asyncio.Task[tuple[list[QueueMetrics], float] | None] | None = None
        self._good_until = 0.0
        self._is_up = True

    async def answer(self, scrape: Scrape) -> Response:
        """Answer a scrape."""
        reads = scrape.with_queues and self._read is not None
        found = await self._queues(scrape.within) if reads else None
        parts = [
            part for family, samples in self._own(reads, found) if (part := family.written(scrape.format, samples))
        ]
        if found is not None:
            queues = found[0]
            with_histograms = len(queues) <= MANY if scrape.with_histograms is None else scrape.with_histograms
            written = prometheus.write(
                queues, scrape.format, with_histograms=with_histograms, with_created=scrape.with_created
            )
            for part in written:
                parts.append(part)
                await asyncio.sleep(0)
        if scrape.format.is_openmetrics:
            parts.append(END)
        body = "".join(parts).encode()
        if not scrape.is_gzipped:
            return Response(200, scrape.format.content_type, body, VARY)
        return await asyncio.to_thread(gzipped, scrape, body)

    async def close(self) -> None:
        """End what is being read."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _own(self, reads: bool, found: tuple[list[QueueMetrics], float] | None) -> Iterable[Samples]:
        yield BUILD, [(labels(version=rqsqs.__version__), 1)]
        if reads:
            yield UP, [("", int(found is not None))]
            if found is not None:
                yield DURATION, [("", round(found[1], 6))]
        yield from self._of_process()

    async def _queues(self, within: float) -> tuple[list[QueueMetrics], float] | None:
        """What was read and how long that took; None = it could not be read in time."""
        reading = self._reading
        if reading is None or (reading.done() and time.monotonic() >= self._good_until):
            reading = self._reading = asyncio.create_task(self._once())
        done, _ = await asyncio.wait([reading], timeout=within)
        return reading.result() if done and not reading.cancelled() else None

    async def _once(self) -> tuple[list[QueueMetrics], float] | None:
        assert self._read is not None
        started = time.monotonic()
        try:
            async with asyncio.timeout(MOST_S):
                queues = await self._read()
        except (RqsqsError, TimeoutError) as error:
            self._say_down(str(error) or f"the server did not answer within {MOST_S:g} seconds")
            return None
        except Exception:
            log.exception("metrics could not be read")
            return None
        finally:
            self._good_until = time.monotonic() + SHARED_S
        self._is_up = True
        return queues, time.monotonic() - started

    def _say_down(self, why: str) -> None:
        """Say it once, not with each scrape."""
        if self._is_up:
            log.warning("rqsqs_up is 0 until this is mended: %s", why)
        self._is_up = False


def in_loop(
    loop: asyncio.AbstractEventLoop, answer: Callable[[str, dict[str, str]], Awaitable[Response]]
) -> Callable[[Request], Response]:
    """What a listener does with requests: they are answered in an event loop, `/livez` as well.

    Args:
        answer: is given the query and the headers; its ValueError says what was wrong with them.
    """

    async def answered(request: Request) -> Response:
        if request.path == LIVE:
            return in_words(200, "ok")
        return await answer(request.query, request.headers)

    def respond(request: Request) -> Response:
        if request.path not in (PATH, LIVE):
            return in_words(404, f"there is nothing but {PATH} and {LIVE}")
        answering = answered(request)
        try:
            return asyncio.run_coroutine_threadsafe(answering, loop).result(MOST_S + 2)
        except ValueError as error:
            return in_words(400, str(error))
        except (RuntimeError, TimeoutError, CancelledError):  # the loop has ended, or hangs
            if loop.is_closed():
                answering.close()
            return in_words(503, "the process is ending, or has too much to do")
        except Exception:
            log.exception("a scrape failed")
            return in_words(500, "the scrape failed: the log says why")

    return respond


def in_words(status: int, text: str) -> Response:
    """An answer for people."""
    return Response(status, "text/plain; charset=utf-8", text.encode(errors="backslashreplace") + b"\n")


def gzipped(scrape: Scrape, body: bytes) -> Response:
    """The answer, packed."""
    packer = zlib.compressobj(GZIP_LEVEL, wbits=31)
    packed = packer.compress(body) + packer.flush()
    return Response(200, scrape.format.content_type, packed, {**VARY, "Content-Encoding": "gzip"})
