"""Key names, and how scripts are put together."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rqsqs._core import scripts
from rqsqs._core.keys import Keyspace


def test_everything_of_a_partition_is_under_its_tag() -> None:
    space = Keyspace("app")
    q = space.queue("orders")
    assert q.home.keys("meta ready") == ("app:{orders/0}:orders:meta", "app:{orders/0}:orders:ready")
    assert q.home.wakeups == "app:{orders/0}:orders:wakeups"
    shard = space.queue("dead").partition("orders/0")
    assert shard.keys("ready") == ("app:{orders/0}:dead:ready",)
    assert q.home.dedup("=", "x", "g") == "app:{orders/0}:orders:dedup:x"
    assert space.queue("o.fifo").home.dedup("=", "x", "g") == "app:{o.fifo/0}:o.fifo:dedup:2:x:g"


def test_a_queue_learns_its_shards_in_order_and_keeps_their_objects() -> None:
    q = Keyspace().queue("dead")
    q.learn(b"2", ["z/0", "a/0", "dead/0"])
    assert [p.tag for p in q.partitions] == ["dead/0", "a/0", "z/0"]
    before = q.partition("z/0")
    q.learn(b"3", ["z/0"])
    assert q.partitions == (q.home, before)


def test_the_same_name_is_the_same_object() -> None:
    space = Keyspace()
    assert space.queue("a") is space.queue("a")
    assert space.queue("a.fifo").is_fifo
    assert not space.queue("a").is_fifo


@pytest.mark.parametrize("name", scripts.names())
def test_every_script_is_complete_and_says_where_its_lines_are_from(name: str) -> None:
    script = scripts.get(name)
    assert "require(" not in "\n".join(
        line for line in script.source.splitlines() if not line.lstrip().startswith("--")
    )
    assert script.sha.decode() == hashlib.sha1(script.source.encode()).hexdigest()
    assert len(script.lines) == len(script.source.splitlines())
    assert script.lines[-1].startswith(f"{name}.lua:")
    where = script.locate(f"user_script:{len(script.lines)}: oops")
    assert where == f"{script.lines[-1]}: oops"
    assert script.locate("user_script:99999: oops") == "user_script:99999: oops"


def test_modules_in_a_circle_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.lua").write_text('local b = require("lib.b")\nreturn {}\n')
    (tmp_path / "lib" / "b.lua").write_text('local a = require("lib.a")\nreturn {}\n')
    (tmp_path / "round.lua").write_text('local a = require("lib.a")\nreturn 1\n')
    monkeypatch.setattr(scripts, "_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"lib\.a -> lib\.b -> lib\.a"):
        scripts.get.__wrapped__("round")


def test_a_module_stands_once_before_its_first_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.lua").write_text("return {n = 5}\n")
    (tmp_path / "lib" / "b.lua").write_text('local a = require("lib.a")\nreturn {n = a.n}\n')
    (tmp_path / "s.lua").write_text(
        '#!lua flags=allow-oom\nlocal a, b = require("lib.a"), require("lib.b")\nreturn a.n\n'
    )
    monkeypatch.setattr(scripts, "_folder", lambda: tmp_path)
    source = scripts.get.__wrapped__("s").source
    assert source.startswith("#!lua flags=allow-oom\n")
    assert source.count("return {n = 5}") == 1


def test_what_is_rare_is_made_only_when_it_is_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "hot.lua").write_text("-- hot\nreturn function(n)\n  return n\nend\n")
    (tmp_path / "lib" / "a.lua").write_text('return require("lib.hot")(1)\n')
    (tmp_path / "lib" / "b.lua").write_text('return require("lib.a")\n')
    (tmp_path / "s.lua").write_text('if x then\n  return require("lib.b")\nend\nreturn require("lib.hot")(2)\n')
    (tmp_path / "t.lua").write_text('if x then\n  return require("lib.a")\nend\nreturn 2\n')
    monkeypatch.setattr(scripts, "_folder", lambda: tmp_path)
    source = scripts.get.__wrapped__("s").source
    hot, rare = source.index("local function lib_hot(n)"), source.index("local function rare(name, rare)")
    assert rare < source.index('"lib_hot" then') < source.index('"lib_a" then') < source.index('"lib_b" then') < hot
    assert 'return rare("lib_b", rare)' in source
    assert 'return rare("lib_a", rare)' in source
    assert 'return rare("lib_hot", rare)(1)' in source
    assert "return lib_hot(2)" in source
    only_rare = scripts.get.__wrapped__("t").source
    assert "return function(n)" in only_rare
    assert only_rare.index("function rare(name, rare)") < only_rare.index('"lib_hot" then')
    assert 'return rare("lib_hot", rare)(1)' in only_rare
    assert "local function lib_hot" not in only_rare


@pytest.mark.parametrize(
    ("key", "queue"),
    [
        ("p:{orders/0}:orders:ready", "orders"),
        ("p:{orders/3.2}:orders-dead:ready", "orders-dead"),
        ("p:{queues}:names", None),
        ("p:{memory/3}:memory", None),
        ("p/1:{orders/0}:orders:ready", None),
        ("q:p:{orders/0}:orders:ready", None),
        ("orders", None),
        ("", None),
    ],
)
def test_keys_tell_their_queue(key: str, queue: str | None) -> None:
    assert Keyspace("p").queue_of(key) == queue
