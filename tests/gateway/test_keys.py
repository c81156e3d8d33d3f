"""The keys file: what can stand in it, how it is changed, and that a running gateway notices."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
import time
import tomllib
from pathlib import Path

import pytest

from rqsqs.gateway.keys import KeysFile, KeysFileInvalid, read
from rqsqs.gateway.keys_editing import NewUser, add_key, add_sealing_secret, disable_key

SEALING = '[[sealing]]\nsecret = "0123456789abcdef0123456789abcdef"\n'
ALLOW = {"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": "arn:aws:sqs:*:*:orders"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_first_key_makes_the_file(path: Path) -> None:
    key = add_key(path, "shop", NewUser(tags={"team": "web"}, statements=[ALLOW]))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keyring = read(path)
    caller = keyring.active[key.key_id].caller
    assert (caller.arn, caller.account) == ("arn:aws:iam::000000000000:user/shop", "000000000000")
    assert (caller.tags, len(caller.policies), caller.is_root) == ({"team": "web"}, 1, False)
    assert len(keyring.sealing) == 1
    assert keyring.warnings == ()
    assert key.key_id.startswith("AKIA")
    assert len(key.secret or "") == 40
    assert [each.name for each in path.parent.iterdir()] == ["keys.toml"]


def test_two_active_keys_for_rotation_and_no_more(path: Path) -> None:
    first, second = add_key(path, "shop", NewUser(account="111111111111")), add_key(path, "shop", NewUser())
    assert read(path).active.keys() == {first.key_id, second.key_id}
    with pytest.raises(KeysFileInvalid, match="has 2 active access keys: rqsqs keys disable KEY makes room"):
        add_key(path, "shop", NewUser())
    assert disable_key(path, first.key_id) is True
    assert disable_key(path, first.key_id) is False
    third = add_key(path, "shop", NewUser())
    assert read(path).active.keys() == {second.key_id, third.key_id}
    assert third.account == "111111111111"
    text = path.read_text()
    path.write_text(text.replace("disabled = true\n", ""))
    with pytest.raises(KeysFileInvalid, match="at most 2 active access keys, got 3"):
        read(path)


def test_what_people_wrote_stays_as_it_is(path: Path) -> None:
    text = f"""# ours
{SEALING}
[users."shop.eu"]   # sends orders
tags = {{team="web"}}
[[users."shop.eu".keys]]
  id = 'AKIAFIRST' # of 2026
secret = "1234567890"
"""
    path.write_text(text)
    add_key(path, "shop.eu", NewUser())
    assert path.read_text().startswith(text)
    disable_key(path, "AKIAFIRST")
    expected = text.replace("  id = 'AKIAFIRST' # of 2026\n", "  id = 'AKIAFIRST' # of 2026\ndisabled = true\n")
    assert path.read_text().startswith(expected)
    assert len(read(path).active) == 1


def test_a_key_that_only_people_can_disable(path: Path) -> None:
    for entry in ('keys = [{id = "AKIAFIRST", secret = "1234567890"}]\n',
                  '[[users.a.keys]]\nid = "AKIAFIRST"\nsecret = "1234567890"\ndisabled = false\n'):  # fmt: skip
        path.write_text(f"{SEALING}[users.a]\n{entry}")
        with pytest.raises(KeysFileInvalid, match="by hand"):
            disable_key(path, "AKIAFIRST")
        assert "AKIAFIRST" in read(path).active
    with pytest.raises(KeysFileInvalid, match="got 'AKIAOTHER': see rqsqs keys ls"):
        disable_key(path, "AKIAOTHER")


def test_a_user_that_exists_is_not_changed_by_a_new_key(path: Path) -> None:
    add_key(path, "shop", NewUser())
    for user in (NewUser(account="111111111111"), NewUser(is_root=True), NewUser(statements=[ALLOW])):
        with pytest.raises(KeysFileInvalid, match="the user shop exists"):
            add_key(path, "shop", user)


def test_an_edit_that_would_not_be_read_is_not_written(path: Path) -> None:
    add_key(path, "shop", NewUser())
    before = path.read_text()
    for name, user in (
        ("a b", NewUser()),
        ("b", NewUser(account="1")),
        ("c", NewUser(statements=[{"Effect": "Allow"}])),
        ("d", NewUser(policy_files=["absent.json"])),
        ("e", NewUser(is_root=True, statements=[ALLOW])),
    ):
        with pytest.raises(KeysFileInvalid):
            add_key(path, name, user)
    assert path.read_text() == before


def test_secrets_from_variables_and_files(path: Path) -> None:
    secret = path.parent / "secret"
    secret.write_text("from-a-file-1\n")
    secret.chmod(0o600)
    one = add_key(path, "a", NewUser(), secret_env="SHOP_SECRET")
    two = add_key(path, "b", NewUser(), secret_file="secret")
    assert one.secret is two.secret is None
    with pytest.raises(KeysFileInvalid, match="the variable 'SHOP_SECRET' must be set"):
        read(path, environ={})
    keyring = read(path, environ={"SHOP_SECRET": "from-a-variable"})
    signing = {
        name: keyring.active[key.key_id].signing_key("20260101", "r", "sqs") for name, key in (("a", one), ("b", two))
    }
    inline = SEALING + "".join(
        f'[[users.{name}.keys]]\nid = "{name}KEY"\nsecret = "{secret}"\n'
        for name, secret in (("a", "from-a-variable"), ("b", "from-a-file-1"))
    )
    same = read(path, text=inline).active
    assert signing == {name: same[f"{name}KEY"].signing_key("20260101", "r", "sqs") for name in ("a", "b")}
    assert {key.source for user in keyring.users.values() for key in user.keys} == {"env SHOP_SECRET", "file secret"}


def test_policies_from_files_of_iam(path: Path) -> None:
    policy = path.parent / "shop.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [ALLOW]}))
    add_key(path, "shop", NewUser(policy_files=["shop.json"]))
    assert len(read(path).users["shop"].policies) == 1
    policy.write_text("{}")
    with pytest.raises(KeysFileInvalid, match=r"shop\.json: Statement must be a list"):
        read(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "must be TOML"),
        ("[user.a]", "there is no 'user'; did you mean 'users'"),
        ("users = 1", "users: it must be a table"),
        ("[users.a]\nacount = '1'", "there is no 'acount'; did you mean 'account'"),
        ("[users.a]\naccount = 111111111111", "account must be a text of twelve digits, got 111111111111"),
        ("[users.a]\nroot = 1", "root must be true or false, got 1"),
        ("[users.a]\ntags = {a = 1}", "tags must have texts as values"),
        ("[[users.a.keys]]\nid = 'x'", "id must have 3 to 128"),
        ("[[users.a.keys]]\nid = 'AKIA/x'\nsecret='12345678'", "id must have 3 to 128"),
        ("[[users.a.keys]]\nid = 'AKIA'", "one of secret, secret_env and secret_file must be given"),
        ("[[users.a.keys]]\nid = 'AKIA'\nsecret='12345678'\nsecret_env='X'", "one of secret, secret_env and"),
        ("[[users.a.keys]]\nid = 'AKIA'\nsecret='short'", "at least 8 visible ASCII characters"),
        ("[[users.a.keys]]\nid = 'AKIA'\nsecret='12345678'\ncreated='now'", "created must be a date and time"),
        ("[[users.a.keys]]\nid='AKIA'\nsecret='12345678'\n[[users.b.keys]]\nid='AKIA'\nsecret='12345678'", "used once"),
        ("[[users.a.statements]]\nEffect='Allow'", "statement 1 must have Action or NotAction"),
        ("[[users.a.statements]]\nPrincipal='*'\nEffect='Allow'\nAction='*'\nResource='*'", "must have no Principal"),
        (
            "[users.a]\nroot=true\n[[users.a.statements]]\nEffect='Allow'\nAction='*'\nResource='*'",
            "must have no policies",
        ),
        ("[[sealing]]\nsecret='12345678'", "a sealing secret must have at least 32 characters"),
    ],
)
def test_what_cannot_stand_in_it(path: Path, text: str, says: str) -> None:
    with pytest.raises(KeysFileInvalid, match=says) as refused:
        read(path, text=text)
    assert str(path) in str(refused.value)
    assert "12345678" not in str(refused.value)


def test_a_change_is_noticed_and_a_broken_file_changes_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    first = add_key(path, "shop", NewUser())
    keys = KeysFile(path, clock=clock)
    second = add_key(path, "shop", NewUser())
    assert keys.current().active.keys() == {first.key_id}  # not looked at before a second is over
    clock.now += 1.1
    assert keys.current().active.keys() == {first.key_id, second.key_id}
    text = path.read_text()
    for broken in ("", "nonsense", f"{text}\n[users.shop.keys]\n"):
        path.write_text(broken)
        clock.now += 1.1
        if broken:
            assert keys.current().active.keys() == {first.key_id, second.key_id}
    assert "cannot be used, what was read before stays in force" in caplog.text
    path.unlink()
    clock.now += 1.1
    assert keys.current().active.keys() == {first.key_id, second.key_id}
    path.write_text(text)
    disable_key(path, first.key_id)
    clock.now += 1.1
    assert keys.current().active.keys() == {second.key_id}


def test_a_secret_file_and_a_link_are_looked_at_too(path: Path) -> None:
    """As Kubernetes mounts secrets: a link to a folder, which is replaced."""
    clock = Clock()
    for name in ("one", "two"):
        (path.parent / name).mkdir()
        (path.parent / name / "secret").write_text(f"secret-of-{name}")
    (path.parent / "data").symlink_to("one")
    key = add_key(path, "shop", NewUser(), secret_file="data/secret")
    keys = KeysFile(path, clock=clock)
    before = keys.current().active[key.key_id].signing_key("20260101", "r", "sqs")
    (path.parent / "new").symlink_to("two")
    os.replace(path.parent / "new", path.parent / "data")
    clock.now += 1.1
    assert keys.current().active[key.key_id].signing_key("20260101", "r", "sqs") != before


def test_a_file_that_others_can_read_is_warned_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add_key(path, "shop", NewUser())
    for mode, done in ((0o604, "read"), (0o644, "read"), (0o660, "change"), (0o640, ""), (0o600, "")):
        path.chmod(mode)
        warnings = read(path).warnings
        assert warnings == ((f"others can {done} {path}, which has secrets: chmod 600 {path}",) if done else ())
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        KeysFile(path)
    assert "chmod 600" in caplog.text
    disable_key(path, next(iter(read(path).active)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_to_the_file_stays_one(path: Path) -> None:
    link = path.parent / "link.toml"
    add_key(path, "shop", NewUser())
    link.symlink_to(path.name)
    add_key(link, "shop", NewUser())
    assert link.is_symlink()
    assert len(read(path).active) == 2


def test_many_at_once_lose_nothing(path: Path) -> None:
    def add(n: int) -> None:
        add_key(path, f"user{n}", NewUser())

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(path).users.keys() == {f"user{n}" for n in range(8)}


def test_sealing_secrets_are_added(path: Path) -> None:
    add_sealing_secret(path)
    add_sealing_secret(path)
    keyring = read(path)
    assert len({each.secret_id for each in keyring.sealing}) == 2
    assert all(time.time() - each.created < 60 for each in keyring.sealing)
    assert tomllib.loads(path.read_text()).keys() == {"sealing"}


def test_a_region_of_another_partition(path: Path) -> None:
    key = add_key(path, "shop", NewUser(account="111111111111"))
    assert read(path, region="cn-north-1").active[key.key_id].caller.arn == "arn:aws-cn:iam::111111111111:user/shop"


def test_a_change_while_the_file_is_read_is_noticed_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of the file is from when it was opened, not from after it was read."""
    clock = Clock()
    first = add_key(path, "shop", NewUser())
    parse = tomllib.loads

    def change_and_parse(text: str) -> object:
        monkeypatch.setattr(tomllib, "loads", parse)
        add_key(path, "late", NewUser())
        return parse(text)

    monkeypatch.setattr(tomllib, "loads", change_and_parse)
    keys = KeysFile(path, clock=clock)
    assert keys.current().active.keys() == {first.key_id}
    clock.now += 1.1
    assert keys.current().users.keys() == {"shop", "late"}


def test_a_device_or_a_pipe_is_no_keys_file(path: Path) -> None:
    """Root may put a file in the place of /dev/null by renaming."""
    os.mkfifo(path)
    edits = (lambda: add_key(path, "shop", NewUser()), lambda: add_sealing_secret(path), lambda: disable_key(path, "x"))
    for edit in edits:
        with pytest.raises(KeysFileInvalid, match="must be a regular file"):
            edit()
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("field", ["account", "root", "wJalrXUtnFEMIK7MDENG"])
def test_a_secret_in_the_wrong_place_is_not_shown(path: Path, field: str) -> None:
    path.write_text(f'[users.a]\n{field} = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY"\n')
    with pytest.raises(KeysFileInvalid, match="a str that may be a secret"):
        read(path, environ={})
