"""Who is logged in, and who may log whom out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import rqsqs
from rqsqs import _watched_files
from rqsqs._core.operations.sessions import digest_of
from rqsqs.console import ConsoleSettings
from rqsqs.gateway import GatewaySettings
from rqsqs.gateway.keys_editing import NewUser, add_key, disable_key
from tests.console.conftest import Browser, Page, running

HOSTILE = "<script>alert(1)</script>\x9b31m"
LogIn = Callable[..., Browser]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


@pytest.fixture(params=[False, True], ids=["", "read-only"])
def is_read_only(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def log_in(
    valkey_url: str,
    prefix: str,
    keys: Path,
    connection: rqsqs.Connection,
    is_read_only: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LogIn]:
    """Gives a browser of a user, who may do some things: actions of the console."""
    monkeypatch.setattr(_watched_files, "LOOK_EVERY_S", 0)
    ann = add_key(keys, "ann", NewUser(is_root=True))
    secrets = {"ann": (ann.key_id, str(ann.secret))}
    settings = ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix, keys=keys), is_read_only=is_read_only)
    with running(settings) as address:

        def log_in(name: str, *allowed: str, account: str | None = None, agent: str = "A browser") -> Browser:
            if name not in secrets:
                made: Sequence[dict[str, object]] = [{"Effect": "Allow", "Action": allowed or "x:y", "Resource": "*"}]
                key = add_key(keys, name, NewUser(statements=made, account=account))
                secrets[name] = key.key_id, str(key.secret)
            browser = Browser(address)
            browser.headers = {"user-agent": agent}
            assert browser.log_in(*secrets[name]).status == 303
            return browser

        yield log_in


def users(page: Page) -> list[str]:
    assert page.status == 200, page.text
    return re.findall(r'<th scope="row">([^<]+)', page.html)


def digests(page: Page) -> list[str]:
    """Of those that can be ended."""
    return re.findall(r'name="session" value="([0-9a-f]{64})"', page.html)


@pytest.mark.parametrize("is_read_only", [False], indirect=True)
def test_everybody_sees_where_they_are_logged_in(log_in: LogIn) -> None:
    ben, _ = log_in("ben", agent=HOSTILE), log_in("cleo")
    page = ben.get("/sessions")
    assert users(page) == ["ben"]
    assert digests(page) == []
    assert "this browser" in page.text
    assert "127.0.0.1" in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.html
    assert "\x9b" not in page.html
    assert "<script>alert" not in page.html
    assert users(log_in("dora", "rqsqs:ListSessions").get("/sessions")) == ["dora", "ben", "cleo"]


def test_one_ends_ones_own_sessions(log_in: LogIn, connection: rqsqs.Connection, is_read_only: bool) -> None:
    here, there, elsewhere = log_in("ben"), log_in("ben"), log_in("ben")
    page = here.get("/sessions")
    assert users(page) == ["ben"] * 3
    (_, one) = digests(page)
    with there.live("/?live=1") as events:
        assert next(events)[0] == "live"
        assert "1 session ended." in here.do("/sessions/end", {"session": one}).text
        assert [name for name, _ in events][-1] == "ended"
    assert there.get("/").status == 303
    assert elsewhere.get("/").status == 200
    assert "1 session ended." in here.do("/sessions/end", {"others": "1"}).text
    assert elsewhere.get("/").status == 303
    assert here.get("/").status == 200
    assert here.post("/sessions/end", {"session": one}).status == 400
    first, second = connection.events(kind="sessions-ended")
    assert first.detail == second.detail == {"sessions": 1, "users": ["ben"]}


def test_others_are_seen_and_ended_by_permission(log_in: LogIn, is_read_only: bool) -> None:
    ben = log_in("ben")
    sees, ends, root = log_in("sees", "rqsqs:ListSessions"), log_in("ends", "rqsqs:*"), log_in("ann")
    page = sees.get("/sessions")
    assert sorted(users(page)) == ["ann", "ben", "ends", "sees"]
    assert digests(page) == []
    own = digest_of(sees.cookies["rqsqs_session"])
    every = digests(ends.get("/sessions"))
    assert len(every) == (0 if is_read_only else 3)
    for digest in every:
        assert sees.post("/sessions/end", {"session": digest}).status == (400 if digest == own else 403)
    assert "0 sessions ended." in sees.do("/sessions/end", {"others": "1"}).text
    assert ben.get("/").status == 200
    if is_read_only:
        assert digests(root.get("/sessions")) == []
        return
    assert len(digests(root.get("/sessions"))) == 3
    ends.do("/sessions/end", {"others": "1"})
    assert [each.get("/").status for each in (ben, sees, root, ends)] == [303, 303, 303, 200]


@pytest.mark.parametrize("is_read_only", [False], indirect=True)
def test_those_of_other_accounts_and_of_disabled_keys_are_not_there(log_in: LogIn, keys: Path) -> None:
    root = log_in("ann")
    log_in("other", account="111122223333")
    log_in("gone")
    page = root.get("/sessions")
    assert sorted(users(page)) == ["ann", "gone"]
    of_gone = re.search(r'<th scope="row">gone</th>\s*<td class="mono roomy">(\w+)<', page.html)
    assert of_gone
    assert disable_key(keys, of_gone[1])
    assert users(root.get("/sessions")) == ["ann"]


@pytest.mark.parametrize("is_read_only", [False], indirect=True)
def test_other_sites_end_nothing(log_in: LogIn) -> None:
    here, there = log_in("ben"), log_in("ben")
    here.get("/sessions")
    assert here.post("/sessions/end", {"others": "1"}, with_token=False).status == 403
    assert here.post("/sessions/end", {"others": "1"}, origin="http://evil.example").status == 403
    assert there.get("/").status == 200


def test_without_login_there_is_no_such_page(browser: Browser) -> None:
    assert browser.get("/sessions").status == 404
    assert browser.post("/sessions/end", {"others": "1"}).status == 404
