"""What a gateway says of wrong files and servers before the first request, and what its log and its check say later."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("click")

from rqsqs.cli.gateway_check import ask as check
from rqsqs.errors import UsageError
from rqsqs.gateway import GatewaySettings
from rqsqs.gateway.access_log import AccessLog
from rqsqs.gateway.actions import Actions
from rqsqs.gateway.request import HttpRequest
from rqsqs.gateway.serving import ServingSettings

from .conftest import PATIENCE_S, running

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: cert.pem and key.pem, the key of another certificate, and the first key with a passphrase."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("", "other-"):
        openssl(*["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"],
                "-keyout", f"{name}key.pem", "-out", f"{name}cert.pem")  # fmt: skip
    openssl("rsa", "-aes128", "-passout", "pass:secret", "-in", "key.pem", "-out", "locked-key.pem")
    (folder / "junk.pem").write_text("junk")
    return folder


@needs_openssl
@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        ("cert.pem", "absent.pem", r"absent\.pem must be a file that the gateway can read: No such file"),
        ("cert.pem", ".", "must be a file that the gateway can read: Is a directory"),
        ("junk.pem", "key.pem", "must be a certificate and its key"),
        ("cert.pem", "other-key.pem", "must be a certificate and its key"),
        ("cert.pem", "locked-key.pem", "no passphrase"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_refused_at_once(
    certificates: Path, cert: str, key: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        ServingSettings(tls_cert=certificates / cert, tls_key=certificates / key)


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(UsageError, match="must be given together"):
        ServingSettings(tls_cert=Path("cert.pem"))


def test_a_redis_that_is_away_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "rqsqs.gateway")
    with running(GatewaySettings(url="redis://localhost:1/0")):
        deadline = time.monotonic() + PATIENCE_S
        while "requests fail until" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert "no connection to redis://localhost:1/0" in caplog.text


def checked(address: str, *, is_secure: bool) -> str:
    port = urlsplit(address).port
    assert port is not None
    return "".join(str(each.text) for each in check("127.0.0.1", port, is_secure=is_secure))


@needs_openssl
def test_a_check_with_the_wrong_protocol_says_what_to_change(certificates: Path, valkey_url: str) -> None:
    settings = GatewaySettings(url=valkey_url)
    with running(settings) as address:
        assert re.search(": ok$", checked(address, is_secure=False))
        assert "leave --tls-cert out" in checked(address, is_secure=True)
    tls = ServingSettings(tls_cert=certificates / "cert.pem", tls_key=certificates / "key.pem", shutdown_timeout=5)
    with running(settings, tls) as address:
        assert re.search(": ok$", checked(address, is_secure=True))
        assert "needs --tls-cert" in checked(address, is_secure=False)
    assert "Errno" not in checked(address, is_secure=False)  # nobody listens any more
    assert "refused" in checked(address, is_secure=False)


def test_the_access_log_names_queues_in_one_way(valkey_url: str, prefix: str) -> None:
    stream = io.BytesIO()
    log = AccessLog(stream)

    async def requests() -> None:
        actions = Actions(GatewaySettings(url=valkey_url, prefix=prefix), log)
        try:
            for path, query in [
                ("/", "Action=CreateQueue&QueueName=orders"),
                ("/000000000000/orders", "Action=GetQueueAttributes"),
                ("/", "Action=GetQueueAttributes&QueueUrl=https://sqs.example.com/000000000000/orders?x=1"),
                ("/", "Action=GetQueueAttributes&QueueUrl=orders"),
                ("/", "Action=ListQueues"),
            ]:
                request = HttpRequest("GET", path.encode(), query.encode(), {"host": "localhost"})
                await actions.answer(request, asyncio.Event().wait)
        finally:
            await actions.close()
        log.flush()

    asyncio.run(requests())
    queues = [json.loads(line)["queue"] for line in stream.getvalue().splitlines()]
    assert queues == ["orders", "000000000000/orders", "000000000000/orders", "orders", ""]
