"""Webhooks: one HTTP request by POST, to a URL that somebody else chose.

The name of the host is resolved once, its addresses are checked, and the connection goes to one of those that were
checked: so a name that has another address a moment later leads nowhere else (DNS rebinding). Libraries for HTTP
resolve names themselves when they connect, follow redirects and obey the proxies of the environment. None of it is
wanted, and of HTTP little is needed, so it is written here on the streams of asyncio: TLS checks the certificate for
the name, not for the address. Of an answer the status counts; it is read to its end only as far as that is short.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import hmac
import ipaddress
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

from rqsqs._action_targets import Webhook
from rqsqs._text import printable, shortened

from .addresses import Address, why_refused
from .configuration import ActionsConfig, WebhookHost
from .notifications import PendingAction, body, message_id
from .retries import AttemptFailed
from .targets import refusal

log = logging.getLogger("rqsqs.alarms")

MOST_HEADERS = 32 * 1024  # bytes of an answer before its body
MOST_BODY = 64 * 1024  # bytes of it that are read
MOST_INTERIM = 8  # answers such as 100 Continue before the final one
BODY_S = 2.0
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: (.*))?\r?\n")
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


def signature(secret: bytes, at_s: int, content: bytes) -> str:
    """The header Rqsqs-Signature: the time, and an HMAC-SHA256 over the time, a dot and the body."""
    digest = hmac.new(secret, b"%d." % at_s + content, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def call(
    target: Webhook, pending: PendingAction, config: ActionsConfig, now_s: float, resolve: Resolve = resolve
) -> str:
    """Send a notification.

    Args:
        target: where to.
        pending: what.
        config: what is allowed.
        now_s: since 1970, for the signature.
        resolve: gives the addresses of a host.

    Returns:
        What happened, for people.

    Raises:
        AttemptFailed.
    """
    host = config.host(target) or WebhookHost()
    writer = None
    try:
        async with asyncio.timeout(config.timeout):
            addresses = await _addresses(target, host, config, resolve)
            content = body(pending).encode()
            reader, writer = await _connected(target, host, addresses, config.timeout / (len(addresses) + 1))
            writer.write(_request(target, pending, host.secret, int(now_s), content) + content)
            await writer.drain()
            status, phrase, after_s = await _answer(reader)
        rest = await _rest(reader)
    except TimeoutError:
        raise AttemptFailed(f"{target} did not answer within {config.timeout:g} seconds") from None
    except (OSError, EOFError) as error:
        raise AttemptFailed(f"{target} could not be called: {_words(error)}") from None
    finally:
        if writer is not None:
            writer.transport.abort()  # closing TLS in an orderly way may take as long as the other side likes
    if 200 <= status < 300:
        return f"{target} answered {status}{phrase}"
    log.info("%s answered %d%s: %s", target, status, phrase, shortened(printable(rest), 500))
    reason = f"{target} answered {status}{phrase}{_way_out(status)}"
    raise AttemptFailed(reason, is_final=status == 410, after_s=after_s)


async def _addresses(target: Webhook, host: WebhookHost, config: ActionsConfig, resolve: Resolve) -> list[Address]:
    """The addresses that may be connected to."""
    allowed, reasons = [], []
    for text in await resolve(target.host, target.port):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:  # with a zone that is none
            continue
        reason = why_refused(address, host.networks)
        if reason:
            reasons.append(f"{address} is {reason}")
        else:
            allowed.append(address)
    if allowed:
        return allowed
    if reasons:
        raise AttemptFailed(refusal(target, reasons[0], config), is_final=True)
    raise AttemptFailed(f"{target} has no address")


async def _connected(
    target: Webhook, host: WebhookHost, addresses: Sequence[Address], patience_s: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address that takes it.

    Args:
        patience_s: with each but the last one: a machine may have no way to one of them, and not know it.
    """
    tls = (host.tls or _tls()) if target.is_tls else None
    name = target.host if target.is_tls else None
    for n, address in enumerate(addresses):
        is_last = n == len(addresses) - 1
        try:
            async with asyncio.timeout(None if is_last else patience_s):
                return await asyncio.open_connection(
                    str(address), target.port, ssl=tls, server_hostname=name, limit=MOST_HEADERS
                )
        except ssl.SSLCertVerificationError:
            raise
        except OSError:
            if is_last:
                raise
    raise AssertionError("there is an address")


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _request(target: Webhook, pending: PendingAction, secret: bytes, at_s: int, content: bytes) -> bytes:
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        "User-Agent: rqsqs",
        "Content-Type: text/plain; charset=UTF-8",  # as SNS
        f"Content-Length: {len(content)}",
        "Connection: close",
        f"Idempotency-Key: {pending.id}",
        "x-amz-sns-message-type: Notification",
        f"x-amz-sns-message-id: {message_id(pending)}",
    ]
    if secret:
        lines.append(f"Rqsqs-Signature: {signature(secret, at_s, content)}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str, float | None]:
    """The status, a blank and its words or nothing, and the seconds of Retry-After."""
    left = MOST_HEADERS
    for _ in range(MOST_INTERIM):
        after_s: float | None = None
        line = await _line(reader, left)
        left -= len(line)
        match = _STATUS.fullmatch(line)
        if not match:
            raise EOFError("the answer must begin like HTTP/1.1 200 OK")
        while (header := await _line(reader, left)) not in (b"\r\n", b"\n"):
            left -= len(header)
            name, _, value = header.partition(b":")
            if name.strip().lower() == b"retry-after" and re.fullmatch(rb"\d{1,6}", value.strip()):
                after_s = float(value)
        status = int(match[1])
        if not 100 <= status < 200:
            phrase = shortened(printable((match[2] or b"").decode("ascii", "replace").strip()), 60)
            return status, f" {phrase}" if phrase else "", after_s
    raise EOFError(f"it must answer after {MOST_INTERIM} interim answers at most")


async def _line(reader: asyncio.StreamReader, left: int) -> bytes:
    try:
        line = await reader.readline()
    except ValueError:  # longer than the limit
        line = b"\n" * (left + 1)
    if len(line) > left:
        raise EOFError(f"the headers of the answer must have {MOST_HEADERS:,} bytes at most")
    if not line.endswith(b"\n"):
        raise EOFError("it closed the connection before the end of its answer")
    return line


async def _rest(reader: asyncio.StreamReader) -> str:
    """The beginning of the body, if it comes soon. Without reading it, some servers would complain of a reset."""
    data = b""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(BODY_S):
            while more := await reader.read(MOST_BODY - len(data)):
                data += more
    return data.decode(errors="replace")


def _way_out(status: int) -> str:
    return "; redirects are not followed: use the URL it leads to" if 300 <= status < 400 else ""


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return f"its name has no address: {error.strerror}"
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)
