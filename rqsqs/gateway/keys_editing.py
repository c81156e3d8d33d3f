"""Changes to the keys file: new access keys, disabled ones, new sealing secrets.

People edit this file too, so what they wrote stays as it is, comments included: new entries are put at its end, and
`disabled = true` below the id. Each change is read again before it is written, and written to a file beside it, with
mode 0600, that takes its place: a gateway never sees half of one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .keys import MAX_ACTIVE, Keyring, KeysFileInvalid, read

_HEAD = """\
# Access keys of a gateway of rqsqs: it holds secrets, keep it to yourself.
# `rqsqs keys` changes this file, and so may you: docs/authorization.md says what can stand in it.
# A running gateway reads it again when it changes.
"""
_ID_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_SECRET_CHARACTERS = string.ascii_letters + string.digits + "+/"


@dataclass(frozen=True, slots=True)
class NewKey:
    """An access key that was made. Its secret is shown this once.

    Attributes:
        name: of the user.
        account: of the user.
        key_id: its id.
        secret: its secret; None if the file only says where it is.
    """

    name: str
    account: str
    key_id: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class NewUser:
    """What a user is given when it is made.

    Attributes:
        account: its account; None = twelve zeros.
        is_root: whether it is the root user of its account.
        tags: its tags.
        statements: of its policy.
        policy_files: files with policies.
    """

    account: str | None = None
    is_root: bool = False
    tags: Mapping[str, str] | None = None
    statements: Sequence[Mapping[str, Any]] = ()
    policy_files: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said."""
        return not (self.account or self.is_root or self.tags or self.statements or self.policy_files)


def add_key(
    path: Path, name: str, user: NewUser, *, secret_env: str | None = None, secret_file: str | None = None
) -> NewKey:
    """Make an access key for a user, and the user, and the file, if there are none.

    Raises:
        KeysFileInvalid: the file cannot be used, or would not be any more.
    """
    with _locked(path) as text:
        before = read(path, text=text, with_secrets=False) if text else Keyring({}, (), {})
        known = before.users.get(name)
        if known is not None and not user.is_empty:
            raise KeysFileInvalid(
                f"the user {name} exists: to add a key, leave out --account, --root, --allow, --policy and --tag; to "
                f"change what the user may do, edit {path}"
            )
        if known is not None and sum(not key.is_disabled for key in known.keys) >= MAX_ACTIVE:
            raise KeysFileInvalid(
                f"the user {name} has {MAX_ACTIVE} active access keys: rqsqs keys disable KEY makes room"
            )
        key_id = "AKIA" + "".join(secrets.choice(_ID_CHARACTERS) for _ in range(16))
        secret = None
        if secret_env is None and secret_file is None:
            secret = "".join(secrets.choice(_SECRET_CHARACTERS) for _ in range(40))
        blocks = [] if text else [_HEAD]
        if not before.sealing:
            blocks.append(_sealing_block())
        if known is None:
            blocks.append(_user_block(name, user))
        given = {"secret": secret, "secret_env": secret_env, "secret_file": secret_file}
        blocks.append(_key_block(name, key_id, {field: value for field, value in given.items() if value is not None}))
        after = _write(path, text, blocks)
    return NewKey(name, after.users[name].account, key_id, secret)


def disable_key(path: Path, key_id: str) -> bool:
    """Disable an access key; False if it was disabled before.

    Raises:
        KeysFileInvalid: there is no such key, or the file has it in a form that only people can edit.
    """
    with _locked(path) as text:
        found = [
            key
            for user in read(path, text=text, with_secrets=False).users.values()
            for key in user.keys
            if key.key_id == key_id
        ]
        if not found:
            raise KeysFileInvalid(
                f"KEY must be the id of an access key in {path}, got {key_id!r:.140}: see rqsqs keys ls"
            )
        if found[0].is_disabled:
            return False
        lines = text.splitlines(keepends=True)
        places = [
            n
            for n, line in enumerate(lines)
            if re.fullmatch(rf"""\s*id\s*=\s*["']{re.escape(key_id)}["']\s*(#.*)?\s*""", line)
        ]
        block = lines[places[0] + 1 :] if places else []
        for line in block:  # up to the next table: perhaps there is a `disabled = false`
            if line.lstrip().startswith("["):
                break
            if re.match(r"\s*disabled\s*=", line):
                places = []
        if len(places) != 1:
            raise KeysFileInvalid(f"{path} has this key in a form of its own: set its `disabled = true` by hand")
        lines.insert(places[0] + 1, "disabled = true\n")
        _write(path, "".join(lines), [])
    return True


def add_sealing_secret(path: Path) -> None:
    """Add a sealing secret, which is used a minute later; those before stay valid.

    Raises:
        KeysFileInvalid: the file cannot be used.
    """
    with _locked(path) as text:
        _write(path, text, [_HEAD, _sealing_block()] if not text else [_sealing_block()])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[str]:
    """Keep others that change the file out; its content, "" if there is none."""
    if os.path.exists(path) and not os.path.isfile(path):  # else a rename would take the place of /dev/null
        raise KeysFileInvalid(f"{path} must be a regular file: a device, a pipe or a folder cannot hold access keys")
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise KeysFileInvalid(f"the folder of {path} must exist: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            text = ""
        except (OSError, UnicodeDecodeError) as error:
            raise KeysFileInvalid(
                f"{path} must be a file that you can read: {getattr(error, 'strerror', error)}"
            ) from None
        yield text
    finally:
        os.close(folder)


def _write(path: Path, text: str, blocks: Sequence[str]) -> Keyring:
    if text and not text.endswith("\n"):
        text += "\n"
    new = "\n".join([text, *blocks]) if text else "\n".join(blocks)
    keyring = read(path, text=new, with_secrets=False)
    target = path.resolve()  # a link stays one
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
            _keep_owner(target, file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise KeysFileInvalid(f"{path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return keyring


def _keep_owner(target: Path, descriptor: int) -> None:
    """Whoever changes the file, as root perhaps: the gateway must be able to read it."""
    with contextlib.suppress(FileNotFoundError):
        before, now = target.stat(), os.fstat(descriptor)
        if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
            os.fchown(descriptor, before.st_uid, before.st_gid)


def _user_block(name: str, user: NewUser) -> str:
    lines = [f"[users.{_key(name)}]"]
    if user.account:
        lines.append(f"account = {_value(user.account)}")
    if user.is_root:
        lines.append("root = true")
    if user.tags:
        lines.append(f"tags = {_value(dict(user.tags))}")
    if user.policy_files:
        lines.append(f"policy_files = {_value(list(user.policy_files))}")
    for statement in user.statements:
        lines += ["", f"[[users.{_key(name)}.statements]]", *(f"{each} = {_value(v)}" for each, v in statement.items())]
    return "\n".join(lines) + "\n"


def _key_block(name: str, key_id: str, secret: Mapping[str, str]) -> str:
    lines = [
        f"[[users.{_key(name)}.keys]]",
        f"id = {_value(key_id)}",
        *(f"{f} = {_value(v)}" for f, v in secret.items()),
    ]
    return "\n".join([*lines, f"created = {_now()}"]) + "\n"


def _sealing_block() -> str:
    return f"[[sealing]]\nsecret = {_value(secrets.token_urlsafe(32))}\ncreated = {_now()}\n"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    """A value of TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(name))} = {_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
