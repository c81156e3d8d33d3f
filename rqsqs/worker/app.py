"""The worker as applications see it: handlers are registered with it, and it runs them."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from rqsqs import _arguments as arguments
from rqsqs import _settings
from rqsqs._not_copied import NotCopied
from rqsqs._settings import QueueSettings
from rqsqs.errors import InvalidParameterValue, UsageError
from rqsqs.limits import NATIVE
from rqsqs.models import Durability
from rqsqs.worker import handlers, lambdas
from rqsqs.worker import middleware as middlewares
from rqsqs.worker.forked_children import forget_signals, watch
from rqsqs.worker.handlers import Handler
from rqsqs.worker.settings import Changes, Settings, seconds

if TYPE_CHECKING:
    from rqsqs.worker.handlers import BatchHandler, OneHandler
    from rqsqs.worker.metrics import WorkerMetrics
    from rqsqs.worker.process import Guard, LoopProbe
    from rqsqs.worker.runtime import Runtime

    One = TypeVar("One", bound=OneHandler)
    Batch = TypeVar("Batch", bound=BatchHandler)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
M = TypeVar("M", bound=middlewares.Function)
log = logging.getLogger("rqsqs.worker")


class Worker(NotCopied):
    """Serves queues with functions of the application.

    Args:
        url: of the server, as for rqsqs.connect(); None = the environment variable RQSQS_URL, else
            redis://localhost:6379/0.
        prefix: what all keys begin with; None = the environment variable RQSQS_PREFIX, else rqsqs.
        concurrency: how many messages (or batches) are handled at a time, 1 to 10,000. Plain functions run in that
            many threads, coroutine functions on the event loop.
        heartbeat_interval: seconds between two heartbeats, 0.05 to 3600. What a worker holds stays invisible to others
            for two intervals after each of them; the queue's visibility timeout plays no part.
        shutdown_timeout: seconds that handlers get to finish after a stop; then their messages are given back.
        linger: seconds for which messages may gather while they come one close upon the other and handlers take less
            than 5 ms: they are fetched and deleted by fewer calls. A worker that has nothing to do takes the next
            message at once.
        prefetch: calls of a handler that takes at most 1 ms that wait in hand beyond the slots, 0 to 900 (worker.md).
        max_extension: seconds for which a message is kept invisible at most, however long its handler takes (12 hours).
        max_crashes: a message that was received this many times in a row, each time by a worker that died before it
            reported an outcome, goes to the dead-letter queue. See also the queue's max_receive_count.
        durability: with `deletes`, how safe its deletes and releases have to be, a batch at a time; None = as the
            environment variable RQSQS_DURABILITY says. If that is required and not reached, the log tells.
        history: whether it writes the history of all queues when it is its turn: a call each minute, and more in one of
            all processes that may; None = unless the environment variable RQSQS_HISTORY is 0.
        actions: the path of an actions file: the worker evaluates alarms, and does their actions as the file says, when
            it is its turn; None = it does not. They have a thread of their own.
        options: for redis-py's connections.

    Raises:
        InvalidParameterValue.
    """

    __module__ = "rqsqs.worker"

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str | None = None,
        concurrency: int = 10,
        heartbeat_interval: float = 5.0,
        shutdown_timeout: float = 30.0,
        linger: float = 0.004,
        prefetch: int = 100,
        max_extension: float = 43_200.0,
        max_crashes: int = 5,
        durability: Durability | str | None = None,
        history: bool | None = None,
        actions: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        how = concurrency, heartbeat_interval, shutdown_timeout, linger, prefetch, max_extension
        self.settings = Settings(url, prefix, *how, max_crashes, durability, history, actions, options)
        self.handlers: dict[str, Handler] = {}
        self.queues: dict[str, tuple[QueueSettings, Mapping[str, str] | None]] = {}  # to be created
        self._middleware: list[middlewares.Function] = []
        self._kinds: set[bool] = set()  # is_coroutine of all handlers, those of a restricted worker too
        self._runtime: Runtime | None = None
        self._probe: LoopProbe | None = None
        self._guard: Guard | None = None  # of its process, while it is running
        self._is_stopped = False
        self._is_drained = False
        self._lock = threading.Lock()
        self._signals: Sequence[signal.Signals] = ()

    def create_queue(
        self, name: str, *, tags: Mapping[str, str] | None = None, **settings: Unpack[QueueSettings]
    ) -> None:
        """Have a queue created when the worker starts, or found if it exists with the same settings.

        Queues are created in the order of the calls: a dead-letter queue comes before those that name it.

        Args:
            name: 1 to 80 letters, digits, `-` and `_`; `.fifo` at the end makes it a FIFO queue.
            tags: names to text.
            settings: as for Connection.create_queue().

        Raises:
            InvalidParameterValue: an argument, or the worker creates the queue already.
        """
        _settings.attributes_of(arguments.queue_name(name), settings, NATIVE)
        if tags is not None:
            arguments.tags(tags)
        if name in self.queues:
            raise InvalidParameterValue(f"the worker creates the queue {name!r} already")
        self.queues[name] = (settings, tags)

    @overload
    def handler(self, queue: str, *, weight: float = 1, timeout: float | None = None) -> Callable[[One], One]: ...

    @overload
    def handler(
        self, queue: str, *, weight: float = 1, batch: int, timeout: float | None = None
    ) -> Callable[[Batch], Batch]: ...

    def handler(
        self, queue: str, *, weight: float = 1, batch: int = 0, timeout: float | None = None
    ) -> Callable[[Any], Any]:
        """Decorate a function that handles the messages of a queue; see add()."""

        def register(function: Any) -> Any:
            self.add(queue, function, weight=weight, batch=batch, timeout=timeout)
            return function

        return register

    @overload
    def add(
        self,
        queue: str,
        function: OneHandler,
        *,
        weight: float = 1,
        timeout: float | None = None,
    ) -> None: ...

    @overload
    def add(
        self, queue: str, function: BatchHandler, *, weight: float = 1, batch: int, timeout: float | None = None
    ) -> None: ...

    def add(
        self, queue: str, function: Any, *, weight: float = 1, batch: int = 0, timeout: float | None = None
    ) -> None:
        """Let a function handle the messages of a queue.

        It is called with a Message, and with a Context as second argument if it takes two. When it returns, the message
        is deleted; when it raises, the message has failed. A coroutine function gets a rqsqs.aio.Message.

        Args:
            queue: its name. It must exist when the worker starts; create_queue() sees to that.
            function: a plain function, or a coroutine function.
            weight: its part of the slots while several queues have a backlog.
            batch: 0 = one message at a time; N up to 1000 = it is called with a list of up to N messages, and
                returns None, or a list with None (done) or an exception (failed) for each. The messages of a FIFO
                group are in one list, in order.
            timeout: seconds after which a call has failed; HandlerTimeout is raised in it. In a thread that reaches
                Python code only: a call of C code, such as a query without a timeout of its own, continues until
                it returns, and keeps its slot.

        Raises:
            InvalidParameterValue: an argument, or the queue has a handler already.
        """
        name = arguments.queue_name(queue)
        if name in self.handlers:
            raise InvalidParameterValue(f"the queue {name!r} has a handler already")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight <= 1e6:
            raise InvalidParameterValue(f"weight must be a number above 0, got {weight!r}")
        arguments.count("batch", batch, 1000, 0)
        if timeout is not None:
            seconds("timeout", timeout, 0.001, 315_360_000)
        self.handlers[name] = made = handlers.make(name, function, weight, batch, timeout)
        self._kinds.add(made.is_coroutine)

    def add_lambda(
        self,
        queue: str,
        function: Callable[[dict[str, Any], Any], Any],
        *,
        batch: int = 10,
        timeout: float | None = None,
    ) -> None:
        """Host a function written for AWS Lambda with an SQS trigger, unchanged.

        It is called with an event, {"Records": [...]}, and a Lambda context. What it returns is understood as with
        ReportBatchItemFailures: the messages named in `batchItemFailures` have failed, the others are done.

        Args:
            queue: its name.
            function: handler(event, context).
            batch: messages in an event at most, 1 to 1000 (Lambda: 10 by default).
            timeout: seconds; the function reads it with context.get_remaining_time_in_millis().
        """
        arguments.count("batch", batch, 1000)
        self.add(queue, lambdas.host(function, queue), batch=batch, timeout=timeout)

    def middleware(self, function: M) -> M:
        """Decorate a function that runs around each call of a handler, in its thread or task.

        It is called with what the handler is called with, the message or the list of a batch handler, and with
        call_next, which continues with the next middleware, or to the handler, and returns what that returns. A plain
        function runs around plain handlers, an `async def`, which awaits call_next(), around coroutine functions. The
        first one that was registered is the outermost.

        It counts as a part of the handler: if it raises, the message has failed; if it returns without calling
        call_next(), the message is done; the handler's `timeout` holds for both. If middleware of a batch handler
        returns None, what the handler returned stands.

        Raises:
            InvalidParameterValue: it is no function of two arguments.
        """
        middlewares.check(function)
        self._middleware.append(function)
        return function

    def _wrapped(self) -> list[Handler]:
        """The handlers, each with the middleware for its kind."""
        for function in self._middleware:
            if self._kinds == {not (is_coroutine := middlewares.is_coroutine(function))}:
                raise UsageError(
                    f"the middleware {getattr(function, '__qualname__', function)} runs around no handler: "
                    + (
                        "it is an `async def`, and all handlers are plain functions: make it a plain function"
                        if is_coroutine
                        else "it is a plain function, and all handlers are coroutine functions: make it an `async def` "
                        "that awaits call_next()"
                    )
                )
        return [
            dataclasses.replace(
                handler,
                middleware=tuple(f for f in self._middleware if middlewares.is_coroutine(f) == handler.is_coroutine),
            )
            for handler in self.handlers.values()
        ]

    def configure(self, *, queues: Iterable[str] | None = None, **changes: Unpack[Changes]) -> None:
        """Change what was chosen when it was made: for programs that run the workers of others.

        Args:
            queues: serve these of its queues only, from now on.
            changes: url=, prefix= and whatever else Worker takes by name, but for options of redis-py.

        Raises:
            UsageError: it is running; or it has no handler for one of the queues.
            InvalidParameterValue.
        """
        with self._lock:
            if self._runtime is not None:
                raise UsageError("the worker is running: configure it before")
            self.settings = dataclasses.replace(self.settings, **changes)
            if queues is None:
                return
            wanted = list(queues)
            for name in wanted:
                if name not in self.handlers:
                    known = ", ".join(self.handlers) or "none"
                    raise UsageError(f"the worker has no handler for the queue {name!r}; its queues: {known}")
            self.handlers = {name: handler for name, handler in self.handlers.items() if name in wanted}

    def run(self) -> None:
        """Serve until a signal or stop() ends it.

        SIGTERM and SIGINT: takes no more messages, gives back what was not begun, finishes what is running within
        `shutdown_timeout` seconds, and returns. A second signal gives everything back at once.

        Raises:
            UsageError: it has no handlers, or runs already.
            ActionsFileInvalid, QueueDoesNotExist, QueueNameExists, ServerError: right at the start.
        """
        import rqsqs.worker.runtime  # noqa: F401 - with redis-py, before there is a loop that it would keep waiting
        from rqsqs.worker import process

        process.run(self.serve(handle_signals=threading.current_thread() is threading.main_thread()))

    async def serve(self, *, handle_signals: bool = False) -> None:
        """run() for programs that have an event loop of their own. Cancelled, it gives everything back at once.

        A task that raises SystemExit or KeyboardInterrupt ends such a loop, as asyncio has it; run() bears it.

        Args:
            handle_signals: react to SIGTERM and SIGINT as run() does.
        """
        await self._serve_process(SIGNALS if handle_signals else (), self._signalled)

    async def _serve_process(self, signals: Sequence[signal.Signals], stop: Callable[[str], None]) -> None:
        """serve(), where signals call stop() with their name."""
        import asyncio

        from rqsqs.worker.process import Guard, LoopProbe
        from rqsqs.worker.runtime import Runtime

        if not self.handlers:
            raise UsageError("the worker has no handlers: decorate a function with @worker.handler(QUEUE)")
        with self._lock:
            if self._runtime is not None:
                raise UsageError("the worker is running already")
            self._runtime = runtime = Runtime(self.settings, self._wrapped(), self.queues)
            self._is_drained = False
            if self._is_stopped:
                runtime.stop()
        loop = asyncio.get_running_loop()
        self._probe = LoopProbe(loop)
        self._signals = signals
        watch(self)
        self._guard = Guard(loop, self.settings.shutdown_timeout, runtime.end_without_loop)
        self._guard.install(signals, stop)
        try:
            await runtime.serve()
            self._is_drained = not self._is_stopped  # a command did it
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
            self._guard.end()
            with self._lock:
                self._runtime = None
                self._is_stopped = False
            self._signals = ()

    def forked(self) -> None:
        """In a child: it is not running."""
        self._lock = threading.Lock()
        self._runtime = self._probe = None
        if self._signals:
            forget_signals(self._signals)

    def _signalled(self, name: str) -> None:
        log.info("%s: stopping", name)
        self.stop()

    def stop(self) -> None:
        """Let run() finish what is in hand and return; from any thread. Called again: give everything back at once."""
        with self._lock:
            self._is_stopped = True
            if self._runtime is not None:
                self._runtime.soon(self._runtime.stop)

    def status(self) -> dict[str, Any]:
        """How it is: what /livez and /readyz show. From any thread.

        Returns:
            state: "starting", "running", "stopping", "stopped"; "drained" after a command to end.
            is_ready: it has started, was not stopped, the server answers, and each queue can be served.
            is_live: its event loop turns, and all its threads live, or began anew.
            problems: why it is not ready, as texts; left out if there are none.
            threads_restarted: how often one of its threads died and began anew; left out if none did. The log tells of
                what.
            consumer_id, queues: while it is running.
            statistics: what the connections with which it fetches and settles went through; see rqsqs.Statistics.
        """
        runtime, probe = self._runtime, self._probe
        if runtime is None or probe is None:
            return {"state": "drained" if self._is_drained else "stopped", "is_ready": False, "is_live": True}
        state = runtime.state
        problems, threads = runtime.problems(), runtime.threads()
        deaths = sum(thread.deaths for thread in threads)
        return {
            "state": state,
            "is_ready": state == "running" and not problems,
            "is_live": probe.is_responsive() and all(thread.is_healthy for thread in threads),
            **({"problems": problems} if problems else {}),
            **({"threads_restarted": deaths} if deaths else {}),
            "consumer_id": runtime.consumer_id,
            "queues": {
                queue.name: {
                    "state": queue.shown_state,
                    "in_flight": len(queue.held),
                    "succeeded": queue.succeeded,
                    "failed": queue.failed,
                }
                for queue in runtime.queues
            },
            "statistics": dataclasses.asdict(runtime.statistics()),
        }

    def metrics(self) -> WorkerMetrics | None:
        """What this process did since it began to serve, and does right now; None while it is not running. From any
        thread, at once: it asks no server."""
        from rqsqs.worker.metrics import snapshot

        runtime = self._runtime
        return None if runtime is None else snapshot(runtime)
