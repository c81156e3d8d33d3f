"""The embedded server keeps its files for its user, and uses no folder in which others could put theirs, or did."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rqsqs
from rqsqs import embedded

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "queues"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Rights are what we ask for, not what the user's mask leaves of them."""
    before = os.umask(0)
    yield
    os.umask(before)


def refusal(folder: Path) -> str:
    """Why it is refused; neither a server nor a file was made."""
    before = sorted(os.listdir(folder)) if folder.is_dir() else None
    with pytest.raises(rqsqs.EmbeddedServerUnavailable) as refused:
        embedded.acquire(f"embedded://{folder}")
    assert (sorted(os.listdir(folder)) if folder.is_dir() else None) == before
    return str(refused.value)


@pytest.mark.parametrize(("rights", "who"), [(0o777, "others"), (0o702, "others"), (0o770, "its group")])
def test_a_folder_that_others_can_write_to_is_refused(folder: Path, rights: int, who: str) -> None:
    folder.chmod(rights)
    told = refusal(folder)
    assert told.startswith(f"{who} can write to {folder}")
    assert f"chmod go-w {folder}, or name another folder" in told
    folder.chmod(0o755)  # looking is no harm: all files are private
    embedded.acquire(f"embedded://{folder}").release()


def test_a_folder_in_it_that_is_not_there_yet_is_a_way_out(folder: Path) -> None:
    """As under /tmp, and in volumes that are mounted for everybody."""
    folder.chmod(0o1777)
    way = refusal(folder).rpartition("not there yet: ")[2]
    assert way == f"embedded://{folder}/queues"
    embedded.acquire(way).release()
    assert (folder / "queues").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert refusal(link).endswith(f"is a symbolic link, which may lead where somebody else wants; name the folder "
                                  f"that is meant: embedded://{folder}")  # fmt: skip
    embedded.acquire(f"embedded://{link}/inside").release()  # on the way to a folder they are as good as any


FILES = [
    "server.log",
    "server.log.1",
    "server.lock",
    "server.state",
    "server.sock",
    "start.lock",
    "users",
    "joined.me",
    "appendonlydir",
    "temp-rewriteaof-1.aof",
    "appendonlydir/appendonly.aof.manifest",
]


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_place_of_a_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(victim)
    assert f"{path} is a symbolic link, and the server would write where it leads; remove it" in refusal(folder)
    assert victim.read_text() == "precious\n"


def test_what_is_not_ours_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (folder / "notes").symlink_to(tmp_path)
    embedded.acquire(f"embedded://{folder}").release()


def test_the_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = embedded._user()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert f"{folder} belongs to {owner}, not to the user 4711; name another folder" in refusal(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_user_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    os.chown(path, NOBODY, NOBODY)
    assert f"{path} belongs to {embedded._user(NOBODY)}, not to {embedded._user()}; remove it" in refusal(folder)


def test_all_that_is_made_is_for_its_user_alone(tmp_path: Path, no_umask: None) -> None:
    folder = tmp_path / "some" / "where" / "queues"
    with rqsqs.connect(f"embedded://{folder}") as connection:
        connection.create_queue("orders").send("hello")
        assert (folder / "appendonlydir").is_dir()
        for path in [folder.parent.parent, *folder.parent.parent.rglob("*")]:
            status = path.lstat()
            assert status.st_mode & 0o077 == 0, path
            assert status.st_mode & 0o111 == 0 or not stat.S_ISREG(status.st_mode), path


def test_a_path_too_long_for_a_socket_has_it_in_a_private_folder(tmp_path: Path, no_umask: None) -> None:
    with embedded.acquire(f"embedded://{tmp_path}/{'long' * 40}") as server:
        socket = Path(server.socket_path)
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        assert socket.stat().st_mode & 0o077 == 0


def test_a_folder_for_sockets_that_somebody_else_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Path(os.path.realpath("/tmp")) if len(str(tmp_path)) > 50 else tmp_path
    monkeypatch.setattr("tempfile.tempdir", str(base))
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    planted = base / "rqsqs-4711"
    planted.mkdir(exist_ok=True)
    try:
        with pytest.raises(rqsqs.EmbeddedServerUnavailable, match="remove it, or set TMPDIR to a folder of your own"):
            embedded._socket_path(tmp_path / ("long" * 40))
    finally:
        planted.rmdir()


def test_leftovers_of_another_life_of_the_machine_do_no_harm(folder: Path) -> None:
    """After a crash or a reboot: process ids name others now, and nobody listens at the socket."""
    embedded.acquire(f"embedded://{folder}").release()
    os.mkfifo(folder / "users", 0o600) if not (folder / "users").exists() else None
    (folder / "server.state").write_text(f"{os.getppid()} {folder}/server.sock\n")
    subprocess.run(
        [sys.executable, "-c", "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", "server.sock"],
        cwd=folder,
        check=True,
    )
    (folder / "joined.1-ab").touch()
    with embedded.acquire(f"embedded://{folder}") as server:
        assert server.pid != os.getppid()
    assert not (folder / "joined.1-ab").exists()


@pytest.mark.parametrize(
    ("variable", "way"), [("XDG_DATA_HOME", "set XDG_DATA_HOME to a folder"), ("HOME", "set XDG_DATA_HOME to a folder")]
)
def test_a_home_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, way: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    with pytest.raises(rqsqs.EmbeddedServerUnavailable) as told:
        rqsqs.connect("embedded://~")
    assert f"cannot use {tmp_path}/file/" in str(told.value)
    assert "Not a directory" in str(told.value)
    assert way in str(told.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_is_read_only_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    with pytest.raises(rqsqs.EmbeddedServerUnavailable, match="Permission denied"):
        rqsqs.connect("embedded://~")


def test_a_url_with_a_password_is_told_without_it() -> None:
    with pytest.raises(rqsqs.UsageError) as told:
        rqsqs.connect("embedded://me:se@cret@host/folder")
    assert "cret" not in str(told.value)
    assert "embedded:///host/folder" in str(told.value)
