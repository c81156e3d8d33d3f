"""The headers of the scripts name every key that a script touches without being given it (ALSO). Many tests of scripts
run here once more, and the server says which keys each script touches (MONITOR)."""

from __future__ import annotations

import importlib
import inspect
import re
import secrets
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import redis

from rqsqs._core import scripts
from tests.clusters import ALL_ON_CLUSTER
from tests.lua.conftest import Engine
from tests.lua.test_headers import header_of

MODULES = (  # of this folder
    "test_consumers",
    "test_dead_letters",
    "test_dead_letters_of_workers",
    "test_deletion",
    "test_fifo",
    "test_finding",
    "test_histories",
    "test_moves",
    "test_once",
    "test_partitions",
    "test_per_group",
    "test_release",
    "test_standard",
    "test_timeline",
    "test_waiting_flows",
    "test_wake_tokens",
)
LONG = {  # tests whose subject is how many there are
    "test_counts_hold_when_a_step_ends_at_a_large_message_that_came_back",
    "test_no_partition_starves_while_others_have_a_backlog",
    "test_nothing_is_left_of_a_large_queue",
    "test_the_receive_count_goes_on_past_999",
    "test_the_receive_count_past_999_decides_about_dead_letters",
    "test_the_thousandth_receive_is_held_like_any_other",
    "test_those_that_lapse_last_come_first_and_a_thousand_at_most",
}
OF_MANY_KEYS = {"DEL", "UNLINK", "EXISTS"}  # of all other commands the first argument is the key
OF_NO_KEY = {"TIME"}


class Witness:
    """Hears which keys each script touches."""

    def __init__(self, engine: Engine) -> None:
        self.touched: dict[str, set[str]] = {}
        self.script_of = {scripts.get(name).sha.decode(): name for name in scripts.names()}
        self.server = redis.Redis.from_url(engine.url, encoding_errors="replace")
        self.monitor = self.server.monitor().__enter__()

    def listen(self) -> None:
        """Take in what was said so far."""
        end = secrets.token_hex(8)
        self.server.echo(end)
        script, given, base = "", frozenset[str](), ""
        while True:
            said = self.monitor.next_command()
            command, *words = said["command"].split(" ")
            command = command.upper()
            if command == "ECHO" and end in words:
                return
            if said["client_type"] != "lua":
                script = ""
            if command == "EVALSHA":
                script, given = self.script_of[words[0]], frozenset(words[2 : 2 + int(words[1])])
                base = next(key for key in words[2:] if ":call:" not in key).rpartition(":")[0] + ":"
            elif script and command not in OF_NO_KEY:
                for key in words if command in OF_MANY_KEYS else words[:1]:
                    if key not in given:
                        self.touched.setdefault(script, set()).add(as_in_headers(key, base))


def as_in_headers(key: str, base: str) -> str:
    if key.startswith(base):
        return re.sub(":.*", ":", key.removeprefix(base), flags=re.DOTALL)
    other = re.match(r".*?}:[^:]*:", key)
    assert other, key
    return "another " + as_in_headers(key, other[0])


def named_in(script: str) -> set[str]:
    """Keys that a header names under ALSO."""
    own, _, other = header_of(script).also.partition("; of another queue: ")
    names = [*own.split(), *(f"another {name}" for name in other.split())]
    return {re.sub(":[A-Z]+$", ":", name) for name in names}


def cases_in(module: ModuleType) -> Iterator[tuple[Callable[..., Any], dict[str, str]]]:
    """Those that need an engine only, and perhaps the name of a queue of either kind."""
    for what, function in vars(module).items():
        if what.startswith("test_") and what not in LONG and inspect.isfunction(function):
            wanted = inspect.signature(function).parameters.keys()
            if wanted == {"engine"}:
                yield function, {}
            elif wanted == {"engine", "name"}:
                yield from ((function, {"name": name}) for name in ("q", "q.fifo"))


@pytest.mark.either_server
@pytest.mark.skipif(ALL_ON_CLUSTER, reason="it listens to one server")
@pytest.mark.parametrize("module", MODULES)
def test_headers_name_the_keys_that_scripts_touch(server_url: str, prefix: str, module: str) -> None:
    witness = Witness(Engine(server_url, prefix))
    for n, (function, arguments) in enumerate(cases_in(importlib.import_module(f"tests.lua.{module}"))):
        engine = Engine(server_url, f"{prefix}:{n}")
        function(engine=engine, **arguments)
        engine.transport.close()
        witness.listen()
    assert len(witness.touched) > 1
    unnamed = {script: keys - named_in(script) for script, keys in witness.touched.items()}
    assert {script: keys for script, keys in unnamed.items() if keys} == {}


def test_headers_name_keys_that_there_are() -> None:
    page = (scripts._folder() / "README.md").read_text("utf-8")
    known = {re.sub(":[A-Z]+$", ":", name) for name in re.findall(r"^\| `([\w:]+)` \|", page, re.MULTILINE)}
    for script in scripts.names():
        assert {name.removeprefix("another ") for name in named_in(script)} <= known | {"dedup:"}, script
