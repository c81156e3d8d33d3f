"""Lets every SQS client of this process be answered by Redis, those that exist already included.

Methods of botocore's classes are replaced while a patch is in force, and put back when the last one ends:

    Session.__init__             hooks aiobotocore as well, if that has been imported since
    Session.create_client        a client needs neither region nor credentials, and takes the URL of a Redis
    BaseClient.__init__          a new client gets the handlers of ours (clients.Switch)
    BaseClient._make_api_call    so does one that exists already, at its next call
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import botocore.client
import botocore.session

from rqsqs._not_copied import NotCopied
from rqsqs.limits import AWS, Limits
from rqsqs.models import Durability

from .clients import PATCHES, Place, Switch, is_redis_url, is_sqs, let_go, needs_nothing, switch_of

if TYPE_CHECKING:
    from .in_process import AsyncResponder, Responder

_lock = threading.RLock()
_hooks: list[_Hook] = []


class Patch(NotCopied):
    """A patch in force; `undo()` or the end of a `with` block ends it. Made by patch()."""

    _instead = "call patch() in each process"

    def __init__(self, place: Place, is_for_all: bool) -> None:
        self._place = place
        self._is_for_all = is_for_all
        self._answerings: weakref.WeakKeyDictionary[Switch, Responder | AsyncResponder] = weakref.WeakKeyDictionary()

    @property
    def url(self) -> str:
        """Where requests are answered."""
        return self._place.url

    @property
    def prefix(self) -> str:
        """What keys begin with."""
        prefix: str = self._place.options["prefix"]
        return prefix

    def answering_for(self, switch: Switch) -> Responder | AsyncResponder | None:
        """What answers a client while this patch is in force."""
        if not self._is_for_all and switch.attached is not None:
            return switch.responder()
        found = self._answerings.get(switch)
        if found is None:
            with _lock:
                found = self._answerings.get(switch)
                if found is None:
                    found = self._answerings[switch] = switch.opened(self._place_of(switch))
        return found

    def _place_of(self, switch: Switch) -> Place:
        place = self._place
        return place._replace(
            url=place.url if self._is_for_all else switch.endpoint_url or place.url,
            account=place.account or switch.account,
            options={**switch.options, **place.options},
        )

    def undo(self) -> None:
        """Answer no client any more, and leave nothing behind; idempotent."""
        with _lock:
            if self not in PATCHES:
                return
            PATCHES.remove(self)
            if not PATCHES:
                while _hooks:
                    _hooks.pop().remove()
                let_go()
            responders = [responder for switch, responder in self._answerings.items() if not switch.is_async]
            self._answerings.clear()
        for responder in responders:
            responder.close()

    def __enter__(self) -> Patch:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"<rqsqs.boto3.patch {'in force' if self in PATCHES else 'undone'}>"


def patch(
    url: str | None = None,
    *,
    limits: Limits = AWS,
    account: str | None = None,
    prefix: str | None = None,
    durability: Durability | str | None = None,
    **options: Any,
) -> Patch:
    """Let every SQS client of this process be answered by Redis from now on, whoever makes it or has made it.

    That is clients and resources of boto3, botocore, aioboto3 and aiobotocore. Other services are not touched. Of
    several patches the last one counts; a client that attach() is called for meanwhile keeps what that says.

        rqsqs.boto3.patch()                         # to the end of the process
        with rqsqs.boto3.patch("embedded://"):      # to the end of the block

    Args:
        url: of the server, for all clients. None = a client that is attached or was created with the URL of a Redis
            keeps it, and all others get RQSQS_URL, else AWS_ENDPOINT_URL_SQS if that is a Redis, else the local Redis.
        limits: as of attach(), and so are the others.

    Returns:
        The patch, which is in force already; its `undo()` ends it.

    Raises:
        InvalidParameterValue: the durability or the prefix makes no sense.
    """
    made = Patch(Place.of(url, limits, account, prefix, durability, options), url is not None)
    with _lock:
        PATCHES.append(made)
        if len(PATCHES) == 1:
            _hook()
    return made


class _Hook:
    """A method that is replaced. If somebody else has replaced it since, it stays, and does nothing."""

    def __init__(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        self.owner, self._name = owner, name
        self._original = vars(owner)[name]
        self._ours = functools.wraps(self._original)(make(self._original))
        setattr(owner, name, self._ours)

    def remove(self) -> None:
        if vars(self.owner)[self._name] is self._ours:
            setattr(self.owner, self._name, self._original)


def _hook() -> None:
    _hooks.append(_Hook(botocore.session.Session, "__init__", _beginning))
    _hooks.append(_Hook(botocore.session.Session, "create_client", _creating))
    _hooks.append(_Hook(botocore.client.BaseClient, "__init__", _initialising))
    _hooks.append(_Hook(botocore.client.BaseClient, "_make_api_call", _calling))
    _hook_aiobotocore()


def _hook_aiobotocore() -> None:
    """If it has been imported and is not hooked."""
    session = getattr(sys.modules.get("aiobotocore.session"), "AioSession", None)
    with _lock:
        if session is not None and PATCHES and all(hook.owner is not session for hook in _hooks):
            client = sys.modules["aiobotocore.client"].AioBaseClient
            _hooks.append(_Hook(session, "_create_client", _creating_async))
            _hooks.append(_Hook(client, "_make_api_call", _calling))


def _beginning(original: Any) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        _hook_aiobotocore()
        original(self, *args, **kwargs)

    return __init__


def _initialising(original: Any) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if PATCHES and is_sqs(self):
            switch_of(self)

    return __init__


def _calling(original: Any) -> Any:
    def _make_api_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if PATCHES and is_sqs(self):
            switch_of(self)
        return original(self, *args, **kwargs)

    return _make_api_call


def _arguments(signature: inspect.Signature, session: Any, args: Any, kwargs: Any) -> dict[str, Any] | None:
    """Those of an SQS client, by name."""
    service = kwargs.get("service_name", args[0] if args else None)
    if not PATCHES or service != "sqs":
        return None
    arguments = dict(signature.bind(session, *args, **kwargs).arguments)
    del arguments["self"]
    return arguments


def _creating(original: Any) -> Any:
    signature = inspect.signature(original)

    def create_client(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = _arguments(signature, self, args, kwargs)
        if arguments is None:
            return original(self, *args, **kwargs)
        url = needs_nothing(arguments, self.get_config_variable("region"))
        return _created(original(self, **arguments), url, arguments)

    return create_client


def _creating_async(original: Any) -> Any:
    signature = inspect.signature(original)

    async def _create_client(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = _arguments(signature, self, args, kwargs)
        if arguments is None:
            return await original(self, *args, **kwargs)
        url = needs_nothing(arguments, self.get_config_variable("region"))
        return _created(await original(self, **arguments), url, arguments)

    return _create_client


def _created(client: Any, url: str | None, arguments: dict[str, Any]) -> Any:
    switch = switch_of(client)
    switch.endpoint_url = url if url is not None and is_redis_url(url) else None
    switch.account = arguments.get("aws_account_id")
    return client
