"""Webhooks against servers that are friendly, broken or hostile. All are real ones on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rqsqs.alarms.actions import Actions, ActionsConfig, Done, Failed, GivenUp, Notification, Outcome, PendingAction
from rqsqs.alarms.actions.configuration import WebhookHost
from rqsqs.alarms.actions.webhook import MOST_BODY, MOST_HEADERS, _rest, signature

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
SECRET = b"0123456789abcdef"
NOW_S = 1_764_259_200.25
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TOLD = Notification(
    "arn:aws:cloudwatch:us-east-1:000000000000:alarm:old",
    'ALARM: "old" in us-east-1\r\nX-Evil: \x1b[31m',
    '{"AlarmName":"old","NewStateValue":"ALARM"}',
    1_764_259_199_500,
)
Answer = Callable[[socket.socket], None]


class Site:
    """A server that reads requests and does with each connection what it is told."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self._answer, self._tls = answer, tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.requests: list[bytes] = []
        self.names: list[str | None] = []
        if tls is not None:
            tls.sni_callback = lambda _, name, __: self.names.append(name)
        self.connections = 0
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, plain: socket.socket) -> None:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            stack.enter_context(plain)
            plain.settimeout(60)
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            stack.enter_context(connection)
            request = b""
            while b"\r\n\r\n" not in request:
                more = connection.recv(65536)
                if not more:
                    return
                request += more
            length = re.search(rb"Content-Length: (\d+)", request)
            wanted = request.index(b"\r\n\r\n") + 4 + int(length[1] if length else 0)
            while len(request) < wanted:
                request += connection.recv(65536)
            self.requests.append(request)
            self._answer(connection)

    def close(self) -> None:
        self.over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(answer: bytes | Answer = OK, tls: ssl.SSLContext | None = None) -> Site:
        sites.append(Site(answer if callable(answer) else lambda connection: connection.sendall(answer), tls))
        return sites[-1]

    yield make
    for each in sites:
        each.close()


def config_for(site: Site, *, host: str = "127.0.0.1", timeout: float = 30.0, **known: object) -> ActionsConfig:
    """One that allows loopback for a host."""
    return ActionsConfig(
        webhooks={f"{host}:{site.port}": WebhookHost(networks=LOOPBACK, **known)},  # type: ignore[arg-type]
        timeout=timeout,
    )


def call(
    url: str, config: ActionsConfig | None = None, *addresses: Sequence[str], attempts: int = 0
) -> tuple[Outcome, list[tuple[str, int]]]:
    """Do an action; names have the addresses that are given, at each question the next ones."""
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return addresses[min(len(asked), len(addresses)) - 1] if addresses else [host.strip("[]")]

    actions = Actions(config, clock=lambda: NOW_S, dice=lambda: 1.0, resolve=resolve)
    return asyncio.run(actions.run(PendingAction("id-1", url, TOLD, attempts))), asked


def outcome_of(answer: bytes | Answer, site: Callable[..., Site], timeout: float = 30.0) -> Outcome:
    there = site(answer)
    return call(f"http://127.0.0.1:{there.port}/hook", config_for(there, timeout=timeout))[0]


# What is sent


def test_a_request_as_sns_makes_it_with_a_signature_of_ours(site: Callable[..., Site]) -> None:
    there = site()
    url = f"http://127.0.0.1:{there.port}/hook/T0?a=b"
    outcome, _ = call(url, config_for(there, secret=SECRET))
    assert outcome == Done(f"http://127.0.0.1:{there.port}/... answered 200 OK")
    head, _, content = there.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert first == "POST /hook/T0?a=b HTTP/1.1"
    assert headers["Host"] == f"127.0.0.1:{there.port}"
    assert headers["Idempotency-Key"] == "id-1"
    assert headers["x-amz-sns-message-type"] == "Notification"
    assert "X-Evil" not in headers

    told = json.loads(content)
    assert told["Type"] == "Notification"
    assert told["TopicArn"] == TOLD.source
    assert json.loads(told["Message"]) == {"AlarmName": "old", "NewStateValue": "ALARM"}
    assert told["Subject"] == 'ALARM: "old" in us-east-1\\r\\nX-Evil: \\x1b[31m'
    assert told["Timestamp"] == "2025-11-27T15:59:59.500Z"
    assert told["MessageId"] == headers["x-amz-sns-message-id"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", told["MessageId"])

    digest = hmac.new(SECRET, b"1764259200." + content, hashlib.sha256).hexdigest()
    assert headers["Rqsqs-Signature"] == f"t=1764259200,v1={digest}" == signature(SECRET, 1764259200, content)
    call(url, config_for(there), attempts=3)
    again = there.requests[1]
    assert b"Rqsqs-Signature" not in again
    assert again.partition(b"\r\n\r\n")[2] == content, "each attempt says the same"


def test_proxies_of_the_environment_are_ignored(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, there = site(), site()
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert isinstance(call(f"http://127.0.0.1:{there.port}/", config_for(there))[0], Done)
    assert (there.connections, proxy.connections) == (1, 0)


# What is answered


@pytest.mark.parametrize("status", [b"200 OK", b"201 Created", b"202", b"204 No Content"])
def test_what_is_done(site: Callable[..., Site], status: bytes) -> None:
    assert isinstance(outcome_of(b"HTTP/1.1 " + status + b"\r\n\r\n", site), Done)
    assert isinstance(outcome_of(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 " + status + b"\r\n\r\n", site), Done)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_what_is_tried_again(site: Callable[..., Site], status: int) -> None:
    outcome = outcome_of(b"HTTP/1.1 %d No\r\nContent-Length: 6\r\n\r\nsecret" % status, site)
    assert isinstance(outcome, Failed)
    assert outcome.retry_after_s == 5
    assert f"answered {status} No" in outcome.reason
    assert "secret" not in outcome.reason


def test_retry_after_is_obeyed_within_limits(site: Callable[..., Site]) -> None:
    for after, delay_s in ((b"60", 60), (b"999999", 600), (b"1", 5), (b"-5", 5), (b"tomorrow", 5)):
        outcome = outcome_of(b"HTTP/1.1 503 Busy\r\nRetry-After: " + after + b"\r\n\r\n", site)
        assert isinstance(outcome, Failed)
        assert outcome.retry_after_s == delay_s


def test_gone_is_given_up_and_so_is_the_last_attempt(site: Callable[..., Site]) -> None:
    assert isinstance(outcome_of(b"HTTP/1.1 410 Gone\r\n\r\n", site), GivenUp)
    there = site(b"HTTP/1.1 500 Oh\r\n\r\n")
    outcome, _ = call(f"http://127.0.0.1:{there.port}/", config_for(there), attempts=9)
    assert isinstance(outcome, GivenUp)
    assert "after 10 attempts" in outcome.reason


# Where it must not go


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(site: Callable[..., Site], status: int) -> None:
    inside = site()
    location = b"http://127.0.0.1:%d/admin" % inside.port
    outcome = outcome_of(b"HTTP/1.1 %d Moved\r\nLocation: %s\r\n\r\n" % (status, location), site)
    assert isinstance(outcome, Failed)
    assert "redirects are not followed" in outcome.reason
    assert inside.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1", "0"])
def test_loopback_is_refused_however_it_is_written(site: Callable[..., Site], host: str) -> None:
    there = site()
    actions = Actions(dice=lambda: 1.0)  # with the resolver of the system
    outcome = asyncio.run(actions.run(PendingAction("id-1", f"http://{host}:{there.port}/", TOLD)))
    assert isinstance(outcome, GivenUp | Failed)
    assert isinstance(outcome, GivenUp) or "no address" in outcome.reason, outcome
    assert there.connections == 0


def test_a_name_that_leads_inside_is_refused(site: Callable[..., Site]) -> None:
    there = site()
    outcome, _ = call(f"http://evil.example:{there.port}/", None, ["127.0.0.1", "169.254.169.254"])
    assert isinstance(outcome, GivenUp)
    assert "127.0.0.1 is loopback" in outcome.reason
    assert f'host = "evil.example:{there.port}"' in outcome.reason
    assert there.connections == 0


def test_an_allowed_host_is_not_a_way_to_other_addresses(site: Callable[..., Site]) -> None:
    there = site()
    known = {f"inside.example:{there.port}": WebhookHost(networks=(ipaddress.ip_network("10.1.0.0/16"),))}
    outcome, _ = call(f"http://inside.example:{there.port}/", ActionsConfig(webhooks=known), ["127.0.0.1"])
    assert isinstance(outcome, GivenUp)
    assert there.connections == 0


def test_a_name_is_resolved_once_and_connected_to_as_it_was_checked(site: Callable[..., Site]) -> None:
    """DNS rebinding: the second answer would lead elsewhere."""
    there = site()
    config = config_for(there, host="rebind.example")
    outcome, asked = call(f"http://rebind.example:{there.port}/", config, ["127.0.0.1"], ["127.0.0.2"])
    assert isinstance(outcome, Done)
    assert asked == [("rebind.example", there.port)]
    assert f"\r\nHost: rebind.example:{there.port}\r\n".encode() in there.requests[0]
    outcome, asked = call(f"http://rebind.example:{there.port}/", None, ["8.8.8.8", "::1"][1:], ["127.0.0.1"])
    assert isinstance(outcome, GivenUp)
    assert len(asked) == 1


def test_refused_addresses_beside_allowed_ones_are_left_out(site: Callable[..., Site]) -> None:
    there = site()
    config = config_for(there, host="both.example")
    outcome, _ = call(f"http://both.example:{there.port}/", config, ["10.0.0.1", "::1", "127.0.0.1"])
    assert isinstance(outcome, Done)
    assert there.connections == 1


def test_the_next_address_is_taken_if_one_does_not_answer(site: Callable[..., Site]) -> None:
    there = site()
    config = config_for(there, host="two.example")
    outcome, _ = call(f"http://two.example:{there.port}/", config, ["127.0.0.99", "127.0.0.1"])
    assert isinstance(outcome, Done)


def test_the_next_address_is_taken_if_one_is_silent(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of IPv6 are behind some firewalls."""
    known = asyncio.open_connection

    async def connect(host: str, *rest: Any, **options: Any) -> Any:
        if host == "127.0.0.99":
            await asyncio.Event().wait()
        return await known(host, *rest, **options)

    monkeypatch.setattr(asyncio, "open_connection", connect)
    there = site()
    config = config_for(there, host="two.example", timeout=6)
    outcome, _ = call(f"http://two.example:{there.port}/", config, ["127.0.0.99", "127.0.0.1"])
    assert isinstance(outcome, Done)


def test_a_name_without_an_address_is_tried_again() -> None:
    outcome, _ = call("http://nothing.example/", None, [])
    assert isinstance(outcome, Failed)


def test_a_name_server_that_does_not_answer() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    actions = Actions(ActionsConfig(timeout=0.2), resolve=resolve, dice=lambda: 1.0)
    outcome = asyncio.run(actions.run(PendingAction("id-1", "http://slow.example/", TOLD)))
    assert isinstance(outcome, Failed)
    assert "did not answer within 0.2 seconds" in outcome.reason


def test_the_same_in_the_event_loop_of_gateways(site: Callable[..., Site]) -> None:
    uvloop = pytest.importorskip("uvloop")
    there = site()
    actions = Actions(config_for(there), dice=lambda: 1.0)

    async def main() -> list[Outcome]:
        urls = [f"http://127.0.0.1:{there.port}/", "http://localhost:1/"]
        return [await actions.run(PendingAction("id-1", url, TOLD)) for url in urls]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        done, refused = runner.run(main())
    assert isinstance(done, Done)
    assert isinstance(refused, GivenUp)


# TLS


def contexts(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server with a certificate for a name, and of a client that trusts it."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=folder / "cert.pem")


def test_a_certificate_is_checked_for_the_name_though_the_address_is_pinned(
    site: Callable[..., Site], tmp_path: Path
) -> None:
    server, client = contexts(tmp_path, "hooks.example")
    there = site(OK, server)
    config = config_for(there, host="hooks.example", tls=client)
    outcome, _ = call(f"https://hooks.example:{there.port}/", config, ["127.0.0.1"])
    assert isinstance(outcome, Done)
    assert there.names == ["hooks.example"]

    config = config_for(there, host="other.example", tls=client)
    outcome, _ = call(f"https://other.example:{there.port}/", config, ["127.0.0.1"])
    assert isinstance(outcome, Failed)
    assert "its certificate is not valid: Hostname mismatch" in outcome.reason

    config = config_for(there, host="hooks.example")
    outcome, _ = call(f"https://hooks.example:{there.port}/", config, ["127.0.0.1"])
    assert isinstance(outcome, Failed)
    assert "its certificate is not valid: self" in outcome.reason
    assert len(there.requests) == 1, "nothing was sent to who could not say who it is"


def test_a_server_without_tls(site: Callable[..., Site]) -> None:
    there = site(b"HTTP/1.1 400 What\r\n\r\n")
    outcome, _ = call(f"https://127.0.0.1:{there.port}/", config_for(there, timeout=1))
    assert isinstance(outcome, Failed)


# Slow, endless and broken answers


def drip(connection: socket.socket, data: bytes) -> None:
    """One byte after the other, more often than any timeout of a single read."""
    pause = threading.Event()
    for n in range(100_000):
        connection.sendall(data[n % len(data) : n % len(data) + 1])
        pause.wait(0.02)


def flood(connection: socket.socket, data: bytes) -> None:
    for _ in range(100_000):
        connection.sendall(data * 1000)


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(hang, "did not answer within 1 seconds", id="nothing"),
        pytest.param(lambda c: drip(c, b"HTTP/1.1 200 OK\r\nX: a\r\n"), "within 1 seconds", id="slow headers"),
        pytest.param(
            lambda c: drip(c, b"HTTP/1.1 100 Continue\r\n\r\n"), "within 1 seconds", id="slow interim answers"
        ),
    ],
)
def test_slow_answers_end_in_time(site: Callable[..., Site], answer: Answer, words: str) -> None:
    outcome = outcome_of(answer, site, timeout=1.0)
    assert isinstance(outcome, Failed)
    assert words in outcome.reason


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(lambda c: None, "closed the connection", id="closed"),
        pytest.param(reset, "", id="reset"),
        pytest.param(lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nX: "), "closed the connection", id="half"),
        pytest.param(lambda c: c.sendall(b"HTTP/1.1 200"), "closed the connection", id="less than half"),
        pytest.param(lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "must begin like HTTP", id="another protocol"),
        pytest.param(lambda c: c.sendall(b"HTTP/1.1 2000 OK\r\n\r\n"), "must begin like HTTP", id="a strange status"),
        pytest.param(lambda c: flood(c, b"X: " + b"a" * 100 + b"\r\n"), "must begin like HTTP", id="no status"),
        pytest.param(lambda c: flood(c, b"a" * 100), f"{MOST_HEADERS:,} bytes", id="an endless line"),
        pytest.param(
            lambda c: (c.sendall(b"HTTP/1.1 200 OK\r\n"), flood(c, b"X: " + b"a" * 100 + b"\r\n"))[0],
            f"{MOST_HEADERS:,} bytes",
            id="endless headers",
        ),
        pytest.param(
            lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"a" * MOST_HEADERS + b"\r\n\r\n"),
            f"{MOST_HEADERS:,} bytes",
            id="a huge header",
        ),
        pytest.param(lambda c: flood(c, b"HTTP/1.1 100 Continue\r\n\r\n"), "interim", id="endless interim answers"),
    ],
)
def test_broken_answers(site: Callable[..., Site], answer: Answer, words: str) -> None:
    outcome = outcome_of(answer, site)
    assert isinstance(outcome, Failed)
    assert words in outcome.reason
    assert outcome.reason.isprintable()


def test_an_endless_body_is_not_read_to_its_end(site: Callable[..., Site]) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        flood(connection, b"a" * 100)

    assert isinstance(outcome_of(endless, site), Done)

    async def rest() -> str:
        reader = asyncio.StreamReader()
        reader.feed_data(b"a" * 4 * MOST_BODY)  # and no end
        return await _rest(reader)

    assert len(asyncio.run(rest())) == MOST_BODY


def test_a_body_that_drips_does_not_undo_what_was_answered(site: Callable[..., Site]) -> None:
    def dripping(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        drip(connection, b"a")

    assert isinstance(outcome_of(dripping, site), Done)


def test_words_of_an_answer_are_harmless(site: Callable[..., Site]) -> None:
    outcome = outcome_of(b"HTTP/1.1 500 \x1b[31mred\x07\x00" + b"x" * 1000 + b"\r\n\r\n", site)
    assert isinstance(outcome, Failed)
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 200


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = ActionsConfig(webhooks={f"127.0.0.1:{port}": WebhookHost(networks=LOOPBACK)})
    outcome, _ = call(f"http://127.0.0.1:{port}/", config)
    assert isinstance(outcome, Failed)
    assert "could not be called" in outcome.reason


def test_the_snippet_of_the_docs_knows_a_genuine_request() -> None:
    page = (Path(__file__).parents[2] / "docs" / "actions.md").read_text("utf-8")
    (code,) = [code for code in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "def is_genuine" in code]
    names: dict[str, Callable[..., bool]] = {}
    exec(code, names)
    is_genuine, header = names["is_genuine"], signature(SECRET, 1000, b"body")
    assert is_genuine(header, b"body", SECRET.decode(), 1299)
    assert not is_genuine(header, b"body", SECRET.decode(), 1301)
    assert not is_genuine(header, b"bodies", SECRET.decode(), 1000)
    assert not is_genuine(header, b"body", "another secret...", 1000)
    assert not is_genuine(header.replace("1000", "1001"), b"body", SECRET.decode(), 1000)
    for wrong in ("", "t=x,v1=", "t=1000", ",=,", "t=1000,v1=\u00e9", f"t={'1' * 5000},v1=x"):
        assert not is_genuine(wrong, b"body", SECRET.decode(), 1000)
