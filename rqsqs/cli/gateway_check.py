"""`rqsqs gateway --check`: whether a gateway is ready, for the health checks of containers."""

from __future__ import annotations

import http.client
import ipaddress
import ssl

from rqsqs.cli.report import OK, REFUSED, SERVER, Result, Results

TIMEOUT_S = 8.0  # more than /readyz takes


def ask(host: str, port: int, *, is_secure: bool = False, path: str = "/readyz") -> Results:
    """Ask whether it is ready, and say what it answered.

    Args:
        host: what the gateway listens on.
        port: its port.
        is_secure: whether it has a certificate. It is our own gateway, so the certificate is not checked.
        path: what is asked.
    """
    address = _reachable(host)
    connection: http.client.HTTPConnection
    if is_secure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(address, port, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    where = f"{address}:{port}"
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(1000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, http.client.RemoteDisconnected):
            reason = "it closed the connection; one with a certificate needs --tls-cert here, too"
        elif isinstance(error, ssl.SSLError):
            reason = "it does not speak TLS: leave --tls-cert out"
        yield Result(f"no gateway answers at {where}: {reason}", is_ready=False, address=where)
        return SERVER
    finally:
        connection.close()
    is_ready = answer.status == 200
    yield Result(f"{where}: {text or answer.status}", is_ready=is_ready, address=where)
    return OK if is_ready else REFUSED


def _reachable(host: str) -> str:
    """An address to connect to, for one to listen on: 0.0.0.0 listens on all."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
