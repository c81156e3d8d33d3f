"""The keys file: who may call a gateway, in TOML that people can read and edit (docs/authorization.md shows all of it).

    [users.shop]                                  # a user; its name is in ARNs and in policies
    account = "000000000000"                      # whose queues are its own; without it 000000000000
    tags = { team = "web" }                       # for aws:PrincipalTag
    policy_files = ["shop.json"]                  # policies of IAM, beside this file

    [[users.shop.statements]]                     # or their statements, right here
    Effect = "Allow"
    Action = ["sqs:SendMessage", "sqs:GetQueueUrl"]
    Resource = "arn:aws:sqs:*:*:orders"

    [[users.shop.keys]]                           # two may be active, so that a new one can replace an old one
    id = "AKIAIOSFODNN7EXAMPLE"
    secret = "..."                                # or secret_env = "VARIABLE", or secret_file = "PATH"
    disabled = false

    [[sealing]]                                   # seals receipt handles (sealing.py)
    secret = "..."
    created = 2026-11-27T12:00:00Z

A running gateway reads the file again when it, or a file that it names, has changed. If it cannot be read then, the
gateway continues with what it knows, and says so in its log. keys_editing.py changes the file for `rqsqs keys`.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rqsqs._text import no_secret
from rqsqs._toml_files import TomlReader
from rqsqs._watched_files import WatchedFiles
from rqsqs.errors import UsageError
from rqsqs.sqs.context import DEFAULT_ACCOUNT, DEFAULT_REGION
from rqsqs.sqs.names import is_account

from .callers import Caller, root_of, user_of
from .policies import Policy, PolicyInvalid, read_identity_policy
from .sealing import SealingSecret
from .sigv4 import AccessKey

MAX_ACTIVE = 2  # access keys of a user

_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{3,128}")
_USER_FIELDS = {"account", "root", "tags", "policy_files", "statements", "keys"}
_KEY_FIELDS = {"id", "secret", "secret_env", "secret_file", "created", "disabled", "note"}
_SEALING_FIELDS = {"secret", "secret_env", "secret_file", "created"}

log = logging.getLogger("rqsqs.gateway")


class KeysFileInvalid(UsageError):
    """The keys file, or a file or variable that it names, cannot be used."""


@dataclass(frozen=True, slots=True)
class UserKey:
    """An access key as the file has it, without its secret.

    Attributes:
        key_id: its id.
        source: `inline`, `env NAME` or `file PATH`.
        is_disabled: whether it is refused.
        created: when; None if the file does not say.
    """

    key_id: str
    source: str
    is_disabled: bool
    created: datetime | None


@dataclass(frozen=True, slots=True)
class User:
    """A user of the file.

    Attributes:
        name: its name.
        account: its account.
        is_root: whether it is the root user of the account.
        tags: its tags.
        policies: its identity policies.
        keys: its access keys.
    """

    name: str
    account: str
    is_root: bool
    tags: Mapping[str, str]
    policies: tuple[Policy, ...]
    keys: tuple[UserKey, ...]


@dataclass(frozen=True, slots=True)
class Keyring:
    """What a keys file says.

    Attributes:
        active: the access keys that are accepted, by their ids.
        sealing: the sealing secrets, oldest first.
        users: all users, by their names.
        files: the files that were read, and what tells whether they have changed.
        warnings: what is not as it should be.
    """

    active: Mapping[str, AccessKey]
    sealing: tuple[SealingSecret, ...]
    users: Mapping[str, User]
    files: Mapping[Path, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def caller(self, name_or_id: str) -> Caller | None:
        """Who a user's name or an access key id stands for."""
        key = self.active.get(name_or_id)
        if key is None:
            key = next((key for key in self.active.values() if key.caller.name == name_or_id), None)
        return None if key is None else key.caller


class KeysFile(WatchedFiles[Keyring]):
    """A keys file, read again when it changes.

    Args:
        path: of the file.
        region: of the gateway, for ARNs of callers.
        environ: variables that it may name.
        clock: seconds, for how often to look.

    Raises:
        KeysFileInvalid: it cannot be used.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        region: str = DEFAULT_REGION,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = Path(path)

        def read() -> Keyring:
            return read_for_gateway(self.path, region=region, environ=environ)

        super().__init__(read, f"the keys file {self.path}", log, clock)


def read_for_gateway(path: Path, *, region: str = DEFAULT_REGION, environ: Mapping[str, str] = os.environ) -> Keyring:
    """Read a keys file that a gateway is to use.

    Raises:
        KeysFileInvalid: it cannot be used.
    """
    keyring = read(path, region=region, environ=environ)
    if not keyring.sealing:
        raise KeysFileInvalid(f"{path} must have a sealing secret: rqsqs keys seal --keys {path} adds one")
    return keyring


def read(
    path: Path,
    *,
    region: str = DEFAULT_REGION,
    environ: Mapping[str, str] = os.environ,
    text: str | None = None,
    with_secrets: bool = True,
) -> Keyring:
    """Read a keys file.

    Args:
        path: of the file.
        region: of the gateway.
        environ: variables that it may name.
        text: its content, if it is not to be read.
        with_secrets: False = variables and files with secrets need not be there; nobody can be verified then.

    Raises:
        KeysFileInvalid: it cannot be used.
    """
    return _Reader(path, region, environ, with_secrets).read(text)


class _Reader(TomlReader):
    """Reads one keys file once."""

    INVALID = KeysFileInvalid

    def __init__(self, path: Path, region: str, environ: Mapping[str, str], with_secrets: bool) -> None:
        super().__init__(path, environ)
        self.region, self.with_secrets = region, with_secrets

    def read(self, text: str | None) -> Keyring:
        document = self.document(text)
        self.warn_of(self.path)
        self.check_fields(document, {"users", "sealing"}, "the file")
        active: dict[str, AccessKey] = {}
        users = {}
        for name, entry in self.table(document.get("users", {}), "users").items():
            users[name] = self._user(name, self.table(entry, f"users.{name}"), active)
        sealing = [
            self._sealing(self.table(entry, f"sealing[{n}]"), f"sealing[{n}]")
            for n, entry in enumerate(self.list_of(document.get("sealing", []), "sealing"))
        ]
        sealing.sort(key=lambda secret: secret.created)
        return Keyring(active, tuple(sealing), users, self.files, tuple(self.warnings))

    def _user(self, name: str, entry: dict[str, Any], active: dict[str, AccessKey]) -> User:
        where = f"users.{name}"
        if not _NAME.fullmatch(name):
            raise self.error(where, "a name must have 1 to 64 letters, digits or _+=,.@-")
        self.check_fields(entry, _USER_FIELDS, where)
        account = entry.get("account", DEFAULT_ACCOUNT)
        if not isinstance(account, str) or not is_account(account):
            raise self.error(where, f"account must be a text of twelve digits, got {no_secret(account)}")
        is_root = entry.get("root", False)
        if not isinstance(is_root, bool):
            raise self.error(where, f"root must be true or false, got {no_secret(is_root)}")
        tags = self.table(entry.get("tags", {}), f"{where}.tags")
        if not all(isinstance(value, str) for value in tags.values()):
            raise self.error(where, "tags must have texts as values")
        policies = self._policies(entry, where)
        if is_root and policies:
            raise self.error(where, "the root user of an account may do everything, so it must have no policies")
        keys = []
        for n, each in enumerate(self.list_of(entry.get("keys", []), f"{where}.keys")):
            key, secret = self._key(self.table(each, f"{where}.keys[{n}]"), f"{where}.keys[{n}]")
            keys.append(key)
            if key.is_disabled:
                continue
            if key.key_id in active:
                raise self.error(f"{where}.keys[{n}]", f"the id {key.key_id} must be used once in the file")
            if is_root:
                caller = root_of(account, key_id=key.key_id, region=self.region, name=name)
            else:
                caller = user_of(name, account, key_id=key.key_id, region=self.region, tags=tags, policies=policies)
            active[key.key_id] = AccessKey(key.key_id, secret, caller)
        number = sum(not key.is_disabled for key in keys)
        if number > MAX_ACTIVE:
            raise self.error(
                where, f"a user must have at most {MAX_ACTIVE} active access keys, got {number}: disable one"
            )
        return User(name, account, is_root, tags, policies, tuple(keys))

    def _policies(self, entry: dict[str, Any], where: str) -> tuple[Policy, ...]:
        found = []
        for name in self.list_of(entry.get("policy_files", []), f"{where}.policy_files"):
            if not isinstance(name, str):
                raise self.error(where, "policy_files must be a list of paths")
            file = self.beside(name)
            found.append((f"{where}: {file}", self.text_of(file)))
        statements = self.list_of(entry.get("statements", []), f"{where}.statements")
        documents: list[tuple[str, Any]] = list(found)
        if statements:
            documents.append((f"{where}.statements", {"Version": "2012-10-17", "Statement": statements}))
        policies = []
        for place, document in documents:
            try:
                policies.append(read_identity_policy(document, name=place))
            except PolicyInvalid as error:
                raise self.error(place, str(error)) from None
        return tuple(policies)

    def _key(self, entry: dict[str, Any], where: str) -> tuple[UserKey, str]:
        self.check_fields(entry, _KEY_FIELDS, where)
        key_id, is_disabled = entry.get("id"), entry.get("disabled", False)
        if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
            raise self.error(where, "id must have 3 to 128 letters, digits, hyphens or underscores")
        if not isinstance(is_disabled, bool):
            raise self.error(where, f"disabled must be true or false, got {no_secret(is_disabled)}")
        source, secret = self._secret_of(entry, where, is_needed=not is_disabled)
        return UserKey(key_id, source, is_disabled, self._time(entry, where)), secret

    def _sealing(self, entry: dict[str, Any], where: str) -> SealingSecret:
        self.check_fields(entry, _SEALING_FIELDS, where)
        _, secret = self._secret_of(entry, where)
        if len(secret) < 32 and (secret or self.with_secrets):
            raise self.error(where, "a sealing secret must have at least 32 characters: rqsqs keys seal makes one")
        created = self._time(entry, where)
        return SealingSecret(secret.encode(), created.timestamp() if created else 0.0)

    def _secret_of(self, entry: dict[str, Any], where: str, *, is_needed: bool = True) -> tuple[str, str]:
        """Where a secret is, and the secret."""
        kind, value = self.place_of_secret(entry, where)
        source = "inline" if kind == "secret" else f"{kind.removeprefix('secret_')} {value}"
        if not is_needed or not (self.with_secrets or kind == "secret"):
            return source, ""
        value = self.secret(kind, value, where)
        if len(value) < 8 or not value.isascii() or not value.isprintable():
            raise self.error(where, "a secret must have at least 8 visible ASCII characters")
        return source, value

    def _time(self, entry: dict[str, Any], where: str) -> datetime | None:
        created = entry.get("created")
        if created is not None and not isinstance(created, datetime):
            raise self.error(where, "created must be a date and time, such as 2026-11-27T12:00:00Z")
        return created.replace(tzinfo=UTC) if created is not None and created.tzinfo is None else created
