"""Whether a gateway starts: keys, --no-auth or neither, on the loopback address or another one."""

from __future__ import annotations

import pytest

from rqsqs.errors import UsageError
from rqsqs.gateway.start_rules import start_rule

LOOPBACK = ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST")
OTHERS = ("0.0.0.0", "::", "", "192.0.2.1", "gateway.example.org", "localhost.example.org")


def rule(host: str, *, has_keys: bool = False, no_auth: bool = False, allow: bool = False) -> tuple[str, str | None]:
    return start_rule(has_keys=has_keys, no_auth=no_auth, allow_unauthenticated=allow, host=host)


@pytest.mark.parametrize("host", [*LOOPBACK, *OTHERS])
@pytest.mark.parametrize("allow", [False, True])
def test_with_keys_it_starts_anywhere(host: str, allow: bool) -> None:
    assert rule(host, has_keys=True, allow=allow) == ("keys", None)


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("allow", [False, True])
def test_without_authentication_it_starts_on_loopback(host: str, allow: bool) -> None:
    assert rule(host, no_auth=True, allow=allow) == ("none", None)


@pytest.mark.parametrize("host", OTHERS)
def test_without_authentication_it_starts_elsewhere_if_that_is_said_twice(host: str) -> None:
    with pytest.raises(UsageError, match=r"--no-auth lets everybody in.*--allow-unauthenticated"):
        rule(host, no_auth=True)
    authentication, warning = rule(host, no_auth=True, allow=True)
    assert authentication == "none"
    assert "can be reached from other machines" in (warning or "")


@pytest.mark.parametrize("host", LOOPBACK)
def test_with_neither_it_starts_on_loopback_with_a_warning(host: str) -> None:
    authentication, warning = rule(host)
    assert authentication == "none"
    assert "every program of this machine" in (warning or "")


@pytest.mark.parametrize("host", OTHERS)
@pytest.mark.parametrize("allow", [False, True])
def test_with_neither_it_does_not_start_elsewhere(host: str, allow: bool) -> None:
    with pytest.raises(UsageError, match="rqsqs keys add"):
        rule(host, allow=allow)


@pytest.mark.parametrize("host", [*LOOPBACK, *OTHERS])
def test_both_contradict_each_other(host: str) -> None:
    with pytest.raises(UsageError, match="give one of them"):
        rule(host, has_keys=True, no_auth=True)
