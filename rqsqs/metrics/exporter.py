"""One scrape: reads the metrics of all queues, and writes them for Prometheus.

Scrapes at the same time share one reading, and so do those of one second. What is read and written is done in parts,
between which the event loop does other things. A server that does not answer in time is no failed scrape: it answers
`rqsqs_up 0`, and the metrics of the process itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

import rqsqs
from rqsqs.errors import AuthenticationFailed, RqsqsError, ScriptFailed
from rqsqs.metric_models import QueueMetrics

from . import prometheus
from .exposition import END, Family, Format, format_for, labels, takes_gzip
from .listener import Request, Response

if TYPE_CHECKING:
    from rqsqs._async.connection import Connection
    from rqsqs._core.alarm_records import AlarmHealth
    from rqsqs._core.operations.server_memory import Memory

log = logging.getLogger("rqsqs.metrics")

PATH, LIVE = "/metrics", "/livez"
MOST_S = 8.0  # for reading: Prometheus gives a scrape ten seconds
SHARED_S = 1.0  # for which a reading is good
MANY = 200  # queues, of which more are written without histograms
VARY = {"Vary": "Accept, Accept-Encoding"}
GZIP_LEVEL = 1  # half as small as the best takes a fifth of its time

UP = Family("rqsqs_up", "gauge", "Whether the server answered this scrape.")
BUILD = Family("rqsqs_build", "info", "The version of rqsqs that answers.")
MEMORY_USED = Family("rqsqs_server_memory_used_bytes", "gauge", "Memory that the server uses, or all masters do.")
MEMORY_LIMIT = Family("rqsqs_server_memory_limit_bytes", "gauge", "Its maxmemory, or the memory of the machine.")
MEMORY_RATIO = Family("rqsqs_server_memory_used_ratio", "gauge", "How full its memory is; of the fullest master.")
ALARMS = Family("rqsqs_alarms", "gauge", "Alarms that there are.")
EVALUATED = Family(
    "rqsqs_alarms_evaluated_timestamp_seconds", "gauge", "When all alarms were evaluated last, Unix time; 0 = never."
)
EVALUATION_AGE = Family(
    "rqsqs_alarms_evaluation_age_seconds", "gauge", "How long ago alarms were evaluated. More than 180: nobody does."
)
NOT_EVALUATED = Family("rqsqs_alarms_not_evaluated", "gauge", "Alarms that could not be evaluated last time.")
WAITING = Family("rqsqs_alarm_actions_waiting", "gauge", "Actions of alarms that are not done yet.")
OVERDUE = Family(
    "rqsqs_alarm_actions_overdue_seconds", "gauge", "How long an action has been due that nobody has begun."
)
ATTEMPTS = Family("rqsqs_alarm_action_attempts", "counter", "Attempts of actions of alarms, by outcome.")
OUTCOMES = ("done", "failed", "given_up")
DURATION = Family("rqsqs_scrape_duration_seconds", "gauge", "How long it took to read the queues.")

Read = Callable[[], Awaitable[list[QueueMetrics]]]
ReadHealth = Callable[[], Awaitable["AlarmHealth | None"]]
ReadMemory = Callable[[], Awaitable["Memory | None"]]
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


class Reading(NamedTuple):
    """What was read of the server.

    Attributes:
        took_s: how long it took.
        health: of alarms; None = it is not asked for, or may not be read.
        memory: of the server; None = as well.
    """

    queues: list[QueueMetrics]
    took_s: float
    health: AlarmHealth | None
    memory: Memory | None


class Exporter:
    """Answers scrapes, in one event loop.

    Args:
        read: reads the metrics of all queues; None = there are no queues to read.
        of_process: metrics of the process that answers.
        read_health: reads whether alarms are evaluated; None = that is not told.
        read_memory: reads the memory of the server; None = as well.
    """

    def __init__(
        self,
        read: Read | None,
        of_process: Callable[[], Iterable[Samples]] = tuple,
        read_health: ReadHealth | None = None,
        read_memory: ReadMemory | None = None,
    ) -> None:
        self._read, self._read_health, self._read_memory = read, read_health, read_memory
        self._of_process = of_process
        self._reading: asyncio.Task[Reading | None] | None = None
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
            queues = found.queues
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

    def _own(self, reads: bool, found: Reading | None) -> Iterable[Samples]:
        yield BUILD, [(labels(version=rqsqs.__version__), 1)]
        if reads:
            yield UP, [("", int(found is not None))]
            if found is not None:
                yield DURATION, [("", round(found.took_s, 6))]
                if found.health is not None and found.health.alarms + found.health.rules:
                    yield from of_alarms(found.health)
                if found.memory is not None:
                    yield from of_memory(found.memory)
        yield from self._of_process()

    async def _queues(self, within: float) -> Reading | None:
        """What was read and how long that took; None = it could not be read in time."""
        reading = self._reading
        if reading is None or (reading.done() and time.monotonic() >= self._good_until):
            reading = self._reading = asyncio.create_task(self._once())
        done, _ = await asyncio.wait([reading], timeout=within)
        return reading.result() if done and not reading.cancelled() else None

    async def _once(self) -> Reading | None:
        assert self._read is not None
        started = time.monotonic()
        try:
            async with asyncio.timeout(MOST_S):
                queues = await self._read()
                health = None if self._read_health is None else await self._read_health()
                memory = None if self._read_memory is None else await self._read_memory()
        except (RqsqsError, TimeoutError) as error:
            self._say_down(str(error) or f"the server did not answer within {MOST_S:g} seconds")
            return None
        except Exception:
            log.exception("metrics could not be read")
            return None
        finally:
            self._good_until = time.monotonic() + SHARED_S
        self._is_up = True
        return Reading(queues, time.monotonic() - started, health, memory)

    def _say_down(self, why: str) -> None:
        """Say it once, not with each scrape."""
        if self._is_up:
            log.warning("rqsqs_up is 0 until this is mended: %s", why)
        self._is_up = False


def health_reader(connection: Connection) -> ReadHealth:
    """Reads whether the alarms of a connection's prefix are evaluated."""

    async def read() -> AlarmHealth | None:
        from rqsqs._core.operations.alarms import read_health

        try:
            return await connection.transport.run(read_health(connection.transport.space))
        except AuthenticationFailed as error:  # the rules of an older `rqsqs acl`
            log.info("it cannot be told whether alarms are evaluated: %s", error)
            return None

    return read


def memory_reader(connection: Connection) -> ReadMemory | None:
    """Reads the memory of the server of a connection; None = an account of a gateway, whose the server is not."""
    if not connection.transport.space.is_whole:
        return None

    async def read() -> Memory | None:
        from rqsqs._core.flows.server_memory import memory

        try:
            return await connection.transport.run(memory(connection.transport.space))
        except (AuthenticationFailed, ScriptFailed) as error:  # a server or an ACL without INFO
            log.info("the memory of the server cannot be told: %s", error)
            return None

    return read


def of_memory(memory: Memory) -> Iterable[Samples]:
    """The metrics of the memory of the server."""
    yield MEMORY_USED, [("", memory.used)]
    yield MEMORY_LIMIT, [("", memory.limit)]
    yield MEMORY_RATIO, [("", round(memory.percent / 100, 6))]


def of_alarms(health: AlarmHealth) -> Iterable[Samples]:
    """The metrics of alarms, by which those who scrape see that nobody evaluates them."""
    last = health.evaluation
    yield ALARMS, [("", health.alarms)]
    yield EVALUATED, [("", 0 if last is None else last.at_ms / 1000)]
    yield EVALUATION_AGE, [("", math.inf if last is None else last.age_s)]
    yield NOT_EVALUATED, [("", 0 if last is None else last.failed)]
    yield WAITING, [("", health.waiting)]
    yield OVERDUE, [("", health.overdue_s)]
    yield ATTEMPTS, [(labels(outcome=outcome), health.counts.get(outcome, 0)) for outcome in OUTCOMES]


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
