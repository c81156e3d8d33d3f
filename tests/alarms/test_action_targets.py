"""Targets of actions, the addresses that webhooks may go to, and the actions file."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from rqsqs._action_targets import Command, Log, SendTo, Topic, Webhook
from rqsqs.alarms.actions import ActionsConfig, ActionsFileInvalid, check_target, parse_target, read
from rqsqs.alarms.actions.addresses import why_refused
from rqsqs.errors import InvalidParameterValue

ROOT = Path(__file__).parents[2]
QUEUE = "arn:aws:sqs:us-east-1:000000000000:pages"
TOPIC = "arn:aws:sns:us-east-1:000000000000:ops"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("https://hooks.example.com/T0/B1?x=1", Webhook(True, "hooks.example.com", 443, "/T0/B1?x=1")),
        ("HTTPS://Hooks.Example.com:8443", Webhook(True, "hooks.example.com", 8443, "/")),
        ("http://192.0.2.1/", Webhook(False, "192.0.2.1", 80, "/")),
        ("https://[2001:db8::1]:444/a", Webhook(True, "2001:db8::1", 444, "/a")),
        (QUEUE, SendTo("us-east-1", "000000000000", "pages", QUEUE)),
        (f"{QUEUE}.fifo", SendTo("us-east-1", "000000000000", "pages.fifo", f"{QUEUE}.fifo")),
        ("command:page", Command("page")),
        ("log:", Log()),
        (TOPIC, Topic(TOPIC)),
    ],
)
def test_what_is_a_target(text: str, target: object) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "ftp://example.com/", "file:///etc/passwd", "https://", "https:///path",
        "https://user:pass@example.com/", "https://@example.com/", "https://example.com:0/", "https://example.com:70000/",
        "https://example.com:/", "https://example.com:1x/", "https://example.com/#part", "https://example.com/a b",
        "https://example.com/\r\nX: y", "https://exa\u0441mple.com/", "https://example.com\\@127.0.0.1/", "https://[fe80::1%25eth0]/",
        "https://[::1/", "https://[v1.x]/", "https://-a.example/", "https://a..b/", f"https://{'a' * 64}.example/", "https://a_%00/",
        "https://[127.0.0.1]/", f"https://example.com/{'a' * 1024}", "command:", "command:a b", "command:../x",
        "command:/bin/sh", "log:x", "log", "arn:aws:sqs:us-east-1:1:pages", "arn:aws:sqs:us-east-1:000000000000:a/b",
        "arn:aws:lambda:us-east-1:000000000000:function:f", "arn:aws:sqs:us-east-1:000000000000:", 5, None,
    ],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(InvalidParameterValue, match="must") as raised:
        parse_target(text)
    assert "pass@" not in str(raised.value)
    assert str(raised.value).isprintable()


def test_the_path_of_a_url_is_not_shown() -> None:
    assert str(parse_target("https://hooks.example.com:8443/T0/secret?key=5")) == "https://hooks.example.com:8443/..."


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "198.18.0.1", "192.0.2.1", "203.0.113.1",
        "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "::127.0.0.1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "64:ff9b::7f00:1",
        "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1", "2001:0:a9fe:a9fe::1",
        "100::1",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(address: str) -> None:
    assert why_refused(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet(address: str) -> None:
    assert why_refused(ipaddress.ip_address(address)) == ""


def test_networks_that_are_allowed() -> None:
    networks = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd12::/16"))
    assert why_refused(ipaddress.ip_address("10.1.2.3"), networks) == ""
    assert why_refused(ipaddress.ip_address("::ffff:10.1.2.3"), networks) == ""
    assert why_refused(ipaddress.ip_address("fd12::1"), networks) == ""
    assert why_refused(ipaddress.ip_address("10.2.0.1"), networks) == "private"


def config_of(tmp_path: Path, text: str, **environ: str) -> ActionsConfig:
    path = tmp_path / "actions.toml"
    path.write_text(text)
    path.chmod(0o600)
    return read(path, environ=environ)


EVERYTHING = """
listed_only = true
timeout = 5
concurrency = 3
[[webhooks]]
host = "hooks.example.com"
secret_env = "HOOKS"
[[webhooks]]
host = "10.1.2.3:9093"
networks = ["10.1.0.0/16"]
[commands.page]
argv = ["/bin/page", "--team", "ops"]
timeout = 2
environment = { A = "b" }
[topics]
"arn:aws:sns:us-east-1:000000000000:ops" = "command:page"
[retries]
attempts = 3
first = 1
longest = 10
"""


def test_an_actions_file(tmp_path: Path) -> None:
    config = config_of(tmp_path, EVERYTHING, HOOKS="0123456789abcdef")
    assert config.webhooks["hooks.example.com"].secret == b"0123456789abcdef"
    assert config.commands["page"].argv == ("/bin/page", "--team", "ops")
    assert (config.timeout, config.concurrency, config.retries.attempts) == (5.0, 3, 3)
    assert config.warnings == ()
    assert "0123456789abcdef" not in repr(config)

    assert check_target(TOPIC, config) == Command("page")
    for fine in ("https://hooks.example.com/x", "http://10.1.2.3:9093/", QUEUE, "log:", "command:page"):
        assert check_target(fine, config) == parse_target(fine)
    for wrong, way_out in (
        ("https://other.example.com/", "listed_only"),
        ("command:pgae", "'page'"),
        (f"{TOPIC}2", r"\[topics\]"),
        ("http://127.0.0.1/", "must be in"),
    ):
        assert check_target(wrong)  # as far as its form
        with pytest.raises(InvalidParameterValue, match=way_out):
            check_target(wrong, config)


def test_a_private_address_is_refused_when_it_is_put(tmp_path: Path) -> None:
    config = config_of(tmp_path, "")
    with pytest.raises(InvalidParameterValue, match=r"got 169\.254\.169\.254 \(link-local.*networks = "):
        check_target("http://169.254.169.254/latest", config)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = [", "must be TOML"),
        ("commnads = {}", "did you mean 'commands'"),
        ("listed_only = 1", "true or false, got 1"),
        ("timeout = 0", "more than 0"),
        ("timeout = 61", "at most 60"),
        ('[commands.page]\nargv = ["/bin/page"]\ntimeout = 61', "at most 60"),
        ("concurrency = true", "whole number"),
        ('[[webhooks]]\nhost = "https://x"', "host must be like"),
        ("[[webhooks]]", "host must be like"),
        ('[[webhooks]]\nhost = "x"\n[[webhooks]]\nhost = "x"', "once"),
        ('[[webhooks]]\nhost = "x"\nsecret_env = "NONE"', "variable NONE|variable 'NONE'"),
        ('[[webhooks]]\nhost = "x"\nsecret = "short"', "at least 16"),
        ('[[webhooks]]\nhost = "x"\nsecret = "a"\nsecret_env = "B"', "one of"),
        ('[[webhooks]]\nhost = "x"\nnetworks = ["10.0.0.1/8"]', "networks must be"),
        ('[[webhooks]]\nhost = "x"\nca_file = "none.pem"', "certificates in PEM"),
        ('[commands.page]\nargv = "page"', "argv must be a list"),
        ('[commands.page]\nargv = ["page"]', "absolute path"),
        ('[commands.page]\nargv = ["/bin/page"]\nshell = true', "there is no 'shell'"),
        ('[commands.page]\nargv = ["/bin/page"]\nenvironment = { A = 1 }', "environment must map"),
        ('[topics]\nops = "log:"', "an action must be like"),
        (f'[topics]\n"{TOPIC}" = "{TOPIC}"', "another topic"),
        ("[retries]\nattempts = 0", "attempts must be"),
        ("[retries]\nfirst = 20\nlongest = 10", "first the shorter"),
    ],
)
def test_mistakes_in_an_actions_file(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ActionsFileInvalid, match=words):
        config_of(tmp_path, text)


def test_a_missing_file_and_one_that_others_can_read(tmp_path: Path) -> None:
    with pytest.raises(ActionsFileInvalid, match="No such file"):
        read(tmp_path / "none.toml")
    path = tmp_path / "actions.toml"
    path.write_text('[[webhooks]]\nhost = "x"\nsecret = "0123456789abcdef"')
    path.chmod(0o644)
    assert "chmod 600" in read(path).warnings[0]


def test_the_example_can_be_read(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "actions.toml").read_text("utf-8")
    (tmp_path / "hooks-secret").write_text("0123456789abcdef" * 2)
    (tmp_path / "hooks-secret").chmod(0o600)
    path = tmp_path / "actions.toml"
    path.write_text(text)
    config = read(path)
    assert config.webhooks["hooks.example.com"].secret
    assert "page" in config.commands
    assert config.warnings == ()
