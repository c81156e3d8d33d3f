"""The actions file: what actions may do, in TOML of the operator (docs/actions.md shows all of it).

listed_only = false                           # true: webhooks to hosts below only

[[webhooks]]
host = "hooks.example.com"                    # as in the URL, with its port if it has one
secret_env = "HOOKS_SECRET"                   # signs requests; or secret_file = "PATH", or secret = "..."

[[webhooks]]
host = "alerts.internal:9093"
networks = ["10.1.0.0/16"]                    # addresses that the name may have beside those of the internet
ca_file = "internal-ca.pem"

[commands.page]
argv = ["/usr/local/bin/page", "--team", "ops"]
timeout = 30
environment = { PAGER = "https://pager.internal" }

[topics]
"arn:aws:sns:us-east-1:000000000000:ops" = "command:page"

[retries]
attempts = 10
first = 5
longest = 600

A process that evaluates alarms reads the file again when it, or a file that it names, has changed. If it cannot be used
then, what was read before counts, and the log says so.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rqsqs._action_targets import COMMAND_NAME, Target, Topic, Webhook, parse_target
from rqsqs._text import no_secret
from rqsqs._toml_files import TomlReader
from rqsqs._watched_files import WatchedFiles, state_of
from rqsqs.errors import UsageError

from .addresses import Network
from .retries import Retries

WEBHOOK_TIMEOUT_S, COMMAND_TIMEOUT_S = 10.0, 30.0
MOST_TIMEOUT_S = 60  # less than who does an action has it to itself
LEAST_SECRET = 16
MOST_BYTES = 1024 * 1024

log = logging.getLogger("rqsqs.alarms")

_FIELDS = {"listed_only", "timeout", "concurrency", "webhooks", "commands", "topics", "retries"}
_WEBHOOK_FIELDS = {"host", "secret", "secret_env", "secret_file", "networks", "ca_file"}
_COMMAND_FIELDS = {"argv", "timeout", "environment"}
_RETRY_FIELDS = {"attempts", "first", "longest"}


class ActionsFileInvalid(UsageError):
    """The actions file, or a file or variable that it names, cannot be used."""


@dataclass(frozen=True, slots=True)
class WebhookHost:
    """A host that webhooks may go to.

    Attributes:
        secret: with which requests are signed; b"" = they are not.
        networks: addresses that it may have beside those of the internet.
        tls: for its certificate; None = by the authorities of the system.
    """

    secret: bytes = field(default=b"", repr=False)
    networks: tuple[Network, ...] = ()
    tls: ssl.SSLContext | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command.

    Attributes:
        argv: the program and its arguments; there is no shell.
        timeout: seconds after which it is killed.
        environment: variables that it gets, beside PATH and what the notification says.
    """

    argv: tuple[str, ...]
    timeout: float = COMMAND_TIMEOUT_S
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ActionsConfig:
    """What an actions file says. Without one: webhooks to the internet, queues, log.

    Attributes:
        name: of the file, for errors.
        webhooks: hosts as URLs name them: `hooks.example.com`, or with a port that is not that of the protocol.
        commands: by name.
        topics: ARNs of topics -> what they stand for.
        listed_only: whether webhooks go to `webhooks` only.
        timeout: seconds for a webhook, from the question for its address to the end of the answer.
        concurrency: actions at the same time.
        warnings: what is not as it should be.
        files: the files that were read, and what tells whether they have changed.
    """

    name: str = "the actions file"
    webhooks: Mapping[str, WebhookHost] = field(default_factory=dict)
    commands: Mapping[str, CommandLine] = field(default_factory=dict)
    topics: Mapping[str, Target] = field(default_factory=dict)
    listed_only: bool = False
    timeout: float = WEBHOOK_TIMEOUT_S
    concurrency: int = 8
    retries: Retries = field(default_factory=Retries)
    warnings: tuple[str, ...] = ()
    files: Mapping[Path, object] = field(default_factory=dict, compare=False)

    def host(self, target: Webhook) -> WebhookHost | None:
        """What is known of the host of a URL."""
        return self.webhooks.get(target.authority)


class ActionsFile(WatchedFiles[ActionsConfig]):
    """An actions file, read again when it, or a file that it names, changes.

    Args:
        path: of the file.
        environ: variables that it may name.
        clock: seconds, for how often to look.

    Raises:
        ActionsFileInvalid: it cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(lambda: read(path, environ=environ), f"the actions file {os.fspath(path)}", log, clock)


def read(path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ) -> ActionsConfig:
    """Read an actions file.

    Args:
        path: of the file.
        environ: variables that it may name.

    Raises:
        ActionsFileInvalid: it cannot be used.
    """
    return _Reader(Path(path), environ).read()


class _Reader(TomlReader):
    """Reads one file once."""

    INVALID = ActionsFileInvalid
    MOST_BYTES = MOST_BYTES

    def read(self) -> ActionsConfig:
        document = self.document()
        self.check_fields(document, _FIELDS, "the file")
        listed_only = document.get("listed_only", False)
        if not isinstance(listed_only, bool):
            raise self.error("listed_only", f"it must be true or false, got {no_secret(listed_only)}")
        concurrency = document.get("concurrency", 8)
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= 100:
            raise self.error("concurrency", f"it must be a whole number from 1 to 100, got {no_secret(concurrency)}")
        webhooks: dict[str, WebhookHost] = {}
        for n, each in enumerate(self.list_of(document.get("webhooks", []), "webhooks")):
            host, known = self._webhook(self.table(each, f"webhooks[{n}]"), f"webhooks[{n}]")
            if host in webhooks:
                raise self.error(f"webhooks[{n}]", f"a host must be listed once, got {host} again")
            webhooks[host] = known
        commands = {}
        for name, each in self.table(document.get("commands", {}), "commands").items():
            commands[name] = self._command(name, self.table(each, f"commands.{no_secret(name)}"))
        topics = {}
        for arn, each in self.table(document.get("topics", {}), "topics").items():
            topics[arn] = self._topic(arn, each)
        retries = self._retries(self.table(document.get("retries", {}), "retries"))
        if any("secret" in each for each in document.get("webhooks", [])):
            self.warn_of(self.path)
        elif commands and self.others_can_change(self.path):
            self.warnings.append(f"others can change {self.path}, which says which commands run: chmod 644 {self.path}")
        return ActionsConfig(
            str(self.path),
            MappingProxyType(webhooks),
            MappingProxyType(commands),
            MappingProxyType(topics),
            listed_only,
            self._seconds(document.get("timeout", WEBHOOK_TIMEOUT_S), "timeout", MOST_TIMEOUT_S),
            concurrency,
            retries,
            tuple(self.warnings),
            MappingProxyType(self.files),
        )

    def _webhook(self, entry: dict[str, Any], where: str) -> tuple[str, WebhookHost]:
        self.check_fields(entry, _WEBHOOK_FIELDS, where)
        host = entry.get("host")
        try:
            if not isinstance(host, str) or "/" in host:
                raise ValueError
            target = parse_target(f"https://{host}/")
        except ValueError:
            raise self.error(where, 'host must be like "hooks.example.com" or "hooks.example.com:8443"') from None
        assert isinstance(target, Webhook)
        networks = []
        for network in self.list_of(entry.get("networks", []), f"{where}.networks"):
            try:
                if not isinstance(network, str):
                    raise ValueError
                networks.append(ipaddress.ip_network(network))
            except ValueError:
                rule = "networks must be a list of addresses or networks, such as 10.1.0.0/16"
                raise self.error(where, f"{rule}, got {network!r:.80}") from None
        return target.authority, WebhookHost(self._secret(entry, where), tuple(networks), self._tls(entry, where))

    def _secret(self, entry: dict[str, Any], where: str) -> bytes:
        if not any(name in entry for name in ("secret", "secret_env", "secret_file")):
            return b""
        value = self.secret(*self.place_of_secret(entry, where), where)
        if len(value) < LEAST_SECRET or not value.isascii() or not value.isprintable():
            raise self.error(
                where,
                f"a secret must have at least {LEAST_SECRET} visible ASCII characters: openssl rand -hex 32 makes one",
            )
        return value.encode()

    def _tls(self, entry: dict[str, Any], where: str) -> ssl.SSLContext | None:
        name = entry.get("ca_file")
        if name is None:
            return None
        if not isinstance(name, str):
            raise self.error(where, f"ca_file must be a path, got {no_secret(name)}")
        file = self.beside(name)
        try:
            self.files[file] = state_of(file.stat())
            return ssl.create_default_context(cafile=file)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self.error(where, f"ca_file must be a file of certificates in PEM, got {file}: {reason}") from None

    def _command(self, name: str, entry: dict[str, Any]) -> CommandLine:
        where = f"commands.{no_secret(name)}"
        if not COMMAND_NAME.fullmatch(name):
            raise self.error(where, "a name must have 1 to 64 letters, digits, '-', '_' and '.'")
        self.check_fields(entry, _COMMAND_FIELDS, where)
        argv = entry.get("argv")
        if not isinstance(argv, list) or not argv or not all(isinstance(one, str) and "\0" not in one for one in argv):
            raise self.error(where, 'argv must be a list of texts, such as ["/usr/local/bin/page", "--team", "ops"]')
        if not os.path.isabs(argv[0]):
            raise self.error(where, f"the program of argv must be an absolute path, got {no_secret(argv[0])}")
        environment = self.table(entry.get("environment", {}), f"{where}.environment")
        for variable, value in environment.items():
            if not isinstance(value, str) or "\0" in value + variable or "=" in variable or not variable:
                raise self.error(where, f"environment must map names of variables to texts, got {no_secret(variable)}")
        timeout = self._seconds(entry.get("timeout", COMMAND_TIMEOUT_S), f"{where}.timeout", MOST_TIMEOUT_S)
        return CommandLine(tuple(argv), timeout, environment)

    def _topic(self, arn: str, value: Any) -> Target:
        try:
            if not isinstance(parse_target(arn), Topic):
                raise self.error("topics", f"a topic must be like arn:aws:sns:REGION:ACCOUNT:TOPIC, got {arn!r:.80}")
            target = parse_target(value)
        except ValueError as error:
            raise self.error("topics", str(error)) from None
        if isinstance(target, Topic):
            raise self.error("topics", f"a topic must not stand for another topic, got {value!r:.80}")
        return target

    def _retries(self, entry: dict[str, Any]) -> Retries:
        self.check_fields(entry, _RETRY_FIELDS, "retries")
        given = dict(entry)
        for name in ("first", "longest"):
            if name in given:
                given[name] = self._seconds(given[name], f"retries.{name}", 86_400)
        try:
            return Retries(**given)
        except UsageError as error:
            raise self.error("retries", str(error)) from None

    def _seconds(self, value: Any, where: str, most: int) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise self.error(where, f"it must be seconds, more than 0 and at most {most}, got {no_secret(value)}")
        return float(value)
