"""Which server answers a client: what `attach` says, or a patch, or AWS."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from botocore.client import BaseClient
from botocore.config import Config
from botocore.validate import ParamValidationDecorator

from rqsqs import _settings
from rqsqs._arns import DEFAULT_REGION
from rqsqs._io import defaults
from rqsqs._io.urls import SCHEMES
from rqsqs.limits import AWS, Limits
from rqsqs.models import Durability

from .botocore_cache import cache_repeated_work, forget_cached_work

if TYPE_CHECKING:
    from .in_process import AsyncResponder, Responder

PARAMS = "rqsqs_params"  # key in botocore's request context, of parameters that botocore validates
BOTOCORE_TIMEOUT_S = 60
ATTACHABLE = (
    "target must be a client or resource of SQS or CloudWatch, or a session, of boto3, botocore, aioboto3 or "
    "aiobotocore"
)
SERVICES = "sqs", "cloudwatch"


def is_redis_url(url: str) -> bool:
    """Whether a URL names a server that rqsqs can use."""
    return url.partition("://")[0] in SCHEMES


def server_url(endpoint_url: str | None = None) -> str | None:
    """Which server answers a client.

    Returns:
        `endpoint_url` if given, else RQSQS_URL or RQSQS_URL_FILE, else AWS_ENDPOINT_URL_SQS if that names a Redis, else
        the local Redis. None if `endpoint_url` is something else: the address of a real SQS or of an HTTP gateway.
    """
    if endpoint_url is not None:
        return endpoint_url if is_redis_url(endpoint_url) else None
    url = defaults.named_url()
    if url:
        return url
    url = os.environ.get("AWS_ENDPOINT_URL_SQS", "")
    return url if is_redis_url(url) else defaults.URL


class Place(NamedTuple):
    """Where requests are answered, and how."""

    url: str
    limits: Limits
    account: str | None
    durability: Durability | None
    options: dict[str, Any]

    @classmethod
    def of(
        cls,
        url: str | None,
        limits: Limits,
        account: str | None,
        prefix: str | None,
        durability: Durability | str | None,
        options: dict[str, Any],
    ) -> Place:
        """Check what users say.

        Raises:
            InvalidParameterValue: the durability or the prefix makes no sense.
        """
        if "aiobotocore.client" in sys.modules:  # import now what answers, while no event loop waits for it
            import rqsqs._io.aio.runner
            import rqsqs.boto3.in_process  # noqa: F401
        safe = _settings.default_durability(durability)
        options = {**options, "prefix": defaults.prefix_of(prefix)}
        return cls(url or server_url() or defaults.URL, limits, account, safe, options)

    def responder(self, is_async: bool, service: str) -> Responder | AsyncResponder:
        """Something that answers a client's requests to a service from there."""
        from .in_process import AsyncResponder, Responder  # which takes as long to import as boto3 does

        kind = AsyncResponder if is_async else Responder
        return kind(self.url, self.limits, self.account, self.durability, service, **self.options)


class Patch(Protocol):
    """See patching."""

    def answering_for(self, switch: Switch) -> Responder | AsyncResponder | None: ...


PATCHES: list[Patch] = []  # those that are in force; the last one counts


class Switch:
    """The handlers of one client, which ask what answers it now.

    Attributes:
        service: one of SERVICES.
        attached: where it is answered unless a patch says so; None = by AWS.
        endpoint_url: the URL of a Redis that it was created with.
        account: the AWS account number that it was created with.
        options: for redis-py's connections, from its Config.
        is_on: whether the client has the handlers.
    """

    def __init__(self, client: Any) -> None:
        self.service: str = client.meta.service_model.service_name
        self.is_sqs = self.service == "sqs"
        self.is_async = _is_async(client)
        self.attached: Place | None = None
        self._attached_responder: Responder | AsyncResponder | None = None
        self.endpoint_url: str | None = None
        self.account: str | None = None
        self.options = timeouts(client.meta.config)
        self._is_validated = isinstance(getattr(client, "_serializer", None), ParamValidationDecorator)
        self._preferred: tuple[Patch, ...] = ()
        self._opened: list[Any] = []  # AsyncResponders
        self._events = client.meta.events
        self._emit = self._events.emit
        self._endpoint = client._endpoint
        self._saved: list[tuple[Any, str, Any]] = []
        self.is_on = False

    def turn_on(self, client: Any) -> None:
        """Give the client its handlers."""
        if self.is_on:
            return
        # botocore calls handlers of longer event names first, so that these come behind all that users can register.
        self._events.register_last("before-parameter-build", self.note_params, unique_id="rqsqs-params")
        self._events.register_last("before-call", self.answer, unique_id="rqsqs-answer")
        if not self.is_async:
            self._saved = cache_repeated_work(client) if self.is_sqs else []
        elif not isinstance(self._endpoint.http_session, _HttpSession):
            self._endpoint.http_session = _HttpSession(self._endpoint.http_session, self)
        self.is_on = True

    def turn_off(self) -> None:
        """Leave the client as it was. One of aiobotocore that has been answered lets go of Redis when it is closed."""
        if not self.is_on:
            return
        self.is_on = False
        self._events.unregister("before-parameter-build", unique_id="rqsqs-params")
        self._events.unregister("before-call", unique_id="rqsqs-answer")
        forget_cached_work(self._saved)
        session = self._endpoint.http_session
        if isinstance(session, _HttpSession) and not self._opened:
            self._endpoint.http_session = session.original

    def attach(self, place: Place, *, over_patches: bool) -> None:
        """Let it be answered there from now on.

        Args:
            place: where.
            over_patches: also while the patches are in force that are now.
        """
        with _lock:
            self.attached, self._attached_responder = place, None
            self._preferred = tuple(PATCHES) if over_patches else ()

    def responder(self) -> Responder | AsyncResponder | None:
        """What answers it where it is attached; made when there is a first request."""
        found = self._attached_responder
        if found is None and self.attached is not None:
            with _lock:
                found = self._attached_responder
                if found is None:
                    found = self._attached_responder = self.opened(self.attached)
        return found

    def opened(self, place: Place) -> Responder | AsyncResponder:
        """Something that answers from there, and is closed together with the client if it is one of aiobotocore."""
        responder = place.responder(self.is_async, self.service)
        if self.is_async:
            self._opened.append(responder)
        return responder

    def note_params(self, params: Any, context: dict[str, Any], **_: Any) -> None:
        """Handler of before-parameter-build."""
        if self._is_validated or not self.is_sqs:
            context[PARAMS] = params

    def answer(self, model: Any, params: Any, context: dict[str, Any], **_: Any) -> Any:
        """Handler of before-call; aiobotocore awaits what it returns. None leaves the request to botocore."""
        responder = self._patched() if PATCHES and self.is_sqs else self._attached_responder or self.responder()
        if responder is None:
            return None
        return responder.answer(model, params, context.pop(PARAMS, None), context, self._emit)

    def _patched(self) -> Responder | AsyncResponder | None:
        patch = PATCHES[-1]
        return self.responder() if patch in self._preferred else patch.answering_for(self)

    async def close(self) -> None:
        """Give the connections of a client of aiobotocore up."""
        for responder in self._opened:
            await responder.close()


class _HttpSession:
    """The HTTP session of a client of aiobotocore, which is closed when the client is."""

    def __init__(self, session: Any, switch: Switch) -> None:
        self.original = session
        self._switch = switch

    async def __aenter__(self) -> _HttpSession:
        await self.original.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self._switch.close()
        finally:
            await self.original.__aexit__(*exc_info)

    async def close(self) -> None:
        await self.__aexit__(None, None, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


_switches: weakref.WeakKeyDictionary[Any, Switch] = weakref.WeakKeyDictionary()
_lock = threading.RLock()


def switch_of(client: Any) -> Switch:
    """The switch of a client of SQS or CloudWatch, turned on; it gets one if it has none."""
    switch = _switches.get(client)
    if switch is None or not switch.is_on:
        with _lock:
            switch = _switches.get(client)
            if switch is None:
                switch = _switches[client] = Switch(client)
            switch.turn_on(client)
    return switch


def attach_created(client: Any, url: str, account: str | None) -> None:
    """Let a client that a session of ours has created be answered from a URL, unless a patch says otherwise."""
    place = Place.of(url, AWS, account, None, None, timeouts(client.meta.config))
    switch_of(client).attach(place, over_patches=False)


def let_go() -> None:
    """Leave all clients as they were that are not attached."""
    with _lock:
        for switch in list(_switches.values()):
            if switch.attached is None:
                switch.turn_off()


def is_sqs(client: Any) -> bool:
    """Whether this is a client of SQS."""
    return isinstance(client, BaseClient) and client.meta.service_model.service_name == "sqs"


def _is_attachable(client: Any) -> bool:
    return isinstance(client, BaseClient) and client.meta.service_model.service_name in SERVICES


def attach(
    target: Any,
    url: str | None = None,
    *,
    limits: Limits = AWS,
    account: str | None = None,
    prefix: str | None = None,
    durability: Durability | str | None = None,
    **options: Any,
) -> None:
    """Let an existing client, resource or session be answered by Redis instead of AWS.

    Args:
        target: a client or a resource (service, queue, message, alarm, metric) of SQS or CloudWatch, or a session, of
            boto3, botocore, aioboto3 or aiobotocore. Of a session all SQS clients made later are answered; clients of
            other services are not touched, those of CloudWatch neither.
        url: of the server; None = RQSQS_URL, else AWS_ENDPOINT_URL_SQS, else the local Redis.
        limits: what requests may ask for: `rqsqs.limits.AWS` or `rqsqs.limits.NATIVE`.
        account: AWS account number in URLs and ARNs; None = AWS_ACCOUNT_ID, else twelve zeros.
        prefix: what all keys in Redis begin with; None = the environment variable RQSQS_PREFIX, else rqsqs.
        durability: how safe messages have to be before a send returns, a rqsqs.Durability or its text; None = as the
            environment variable RQSQS_DURABILITY says, else in the server's memory.
        options: for redis-py's connections, for example socket_timeout in seconds.

    Raises:
        TypeError: `target` is something else, or a client of another service.
        InvalidParameterValue: the durability or the prefix makes no sense.
    """
    place = Place.of(url, limits, account, prefix, durability, options)
    if hasattr(target, "create_client") and hasattr(target, "get_component"):  # a session of botocore
        _attach_session(target.get_component("event_emitter"), place)
    elif hasattr(target, "events") and hasattr(target, "get_available_services"):  # a session of boto3
        _attach_session(target.events, place)
    else:
        client = getattr(getattr(target, "meta", None), "client", None) or target
        if not _is_attachable(client):
            raise TypeError(f"{ATTACHABLE}, got {_described(target)}")
        switch_of(client).attach(place, over_patches=True)


def _attach_session(events: Any, place: Place) -> None:
    """Give all SQS clients that a session makes a base class that attaches them."""

    class Attached:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            switch_of(self).attach(place, over_patches=True)

    def creating(base_classes: list[type], **_: Any) -> None:
        base_classes.insert(0, Attached)

    events.unregister("creating-client-class.sqs", unique_id="rqsqs")
    events.register_last("creating-client-class.sqs", creating, unique_id="rqsqs")


def _described(target: Any) -> str:
    if isinstance(target, BaseClient):
        return f"a client of {target.meta.service_model.service_name}"
    kind = f"{type(target).__module__}.{type(target).__qualname__}".removeprefix("builtins.")
    if hasattr(target, "__aenter__") and kind.startswith(("aiobotocore.", "aioboto3.")):
        return f"{kind}: attach what `async with` gives, or the session before it makes clients"
    return f"{target!r:.80}" if kind in ("str", "NoneType") else kind


def _is_async(client: Any) -> bool:
    aiobotocore = sys.modules.get("aiobotocore.client")
    return aiobotocore is not None and isinstance(client, aiobotocore.AioBaseClient)


def timeouts(config: Any) -> dict[str, float]:
    """The timeouts of a botocore Config as options of redis-py; those left at botocore's default are left to rqsqs."""
    found = {"socket_timeout": config.read_timeout, "socket_connect_timeout": config.connect_timeout}
    return {name: seconds for name, seconds in found.items() if seconds not in (None, BOTOCORE_TIMEOUT_S)}


def needs_nothing(arguments: dict[str, Any], configured_region: str | None) -> str | None:
    """Let a client be created where neither region nor credentials are configured, and none are looked for.

    Args:
        arguments: of botocore's create_client by name; changed in place.
        configured_region: of the session.

    Returns:
        The endpoint_url that was among them, which a client of HTTP could not use.
    """
    url: str | None = arguments.pop("endpoint_url", None)
    config = arguments.get("config")
    ours = Config(ignore_configured_endpoint_urls=True)  # type: ignore[call-arg] # they are for HTTP
    arguments["config"] = config.merge(ours) if config is not None else ours
    if not (arguments.get("region_name") or getattr(config, "region_name", None) or configured_region):
        arguments["region_name"] = DEFAULT_REGION
    if arguments.get("aws_access_key_id") is None and arguments.get("aws_secret_access_key") is None:
        arguments["aws_access_key_id"] = arguments["aws_secret_access_key"] = "rqsqs"  # nothing is signed
    return url
