"""``os`` on paths and regular files: stock's results in every scheme, and nobody else waits."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.io.disk import CHUNK
from capriccio_patch.io.name_cache import Lookup

needs_openat2 = pytest.mark.skipif(not Lookup().works, reason="no openat2")


def test_a_tree_of_files(beside_another: None, tmp_path: Path) -> None:
    top = tmp_path / "top"
    os.mkdir(top, 0o700)
    assert stat.S_IMODE(os.stat(top).st_mode) == 0o700
    fd = os.open(top / "one", os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o640)
    assert not os.get_inheritable(fd)
    assert os.pwrite(fd, b"hello", 3) == 5
    assert os.pread(fd, 100, 1) == b"\0\0hello"
    os.fsync(fd)
    os.fdatasync(fd)
    os.ftruncate(fd, 6)
    os.close(fd)
    os.rename(top / "one", top / "two")
    os.symlink("two", top / "link")
    os.link(top / "two", top / "three")
    assert sorted(os.listdir(top)) == ["link", "three", "two"]
    with os.scandir(top) as entries:
        assert {entry.name: entry.is_symlink() for entry in entries} == {
            "two": False,
            "three": False,
            "link": True,
        }
    assert os.readlink(top / "link") == "two"
    assert os.lstat(top / "link").st_size == 3
    assert os.stat(top / "link").st_size == 6
    assert os.stat(top / "link", follow_symlinks=False).st_size == 3
    os.chmod(top / "two", 0o600)
    os.utime(top / "two", ns=(1, 2))
    assert os.stat(b"%s/two" % os.fsencode(top)).st_mtime_ns == 2
    assert os.access(top / "two", os.W_OK)
    os.truncate(top / "two", 1)
    at = os.open(top, os.O_RDONLY)
    assert os.stat("two", dir_fd=at).st_size == 1
    os.unlink("three", dir_fd=at)
    os.replace("two", "four", src_dir_fd=at, dst_dir_fd=at)
    os.close(at)
    for name in ("link", "four"):
        os.remove(top / name)
    os.rmdir(top)
    assert not os.path.exists(top)
    assert os.statvfs(tmp_path).f_bsize > 0


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: os.stat("/nowhere"),
        lambda: os.stat(1.5),
        lambda: os.stat("a\0b"),
        lambda: os.listdir("/nowhere"),
        lambda: os.open("/nowhere", os.O_RDONLY),
        lambda: os.open("/nowhere/x", os.O_CREAT),
        lambda: os.open(os.devnull, "r"),
        lambda: os.open(os.devnull, os.O_RDONLY, dir_fd="x"),
        lambda: os.rename("/nowhere", "/elsewhere"),
        lambda: os.mkdir("/"),
        lambda: os.unlink(Path("/nowhere")),
        lambda: os.truncate("/nowhere", -1),
        lambda: os.pread(0, -1, 0),
        lambda: os.pread(-1, 1, 0),
        lambda: os.pwrite(-1, b"", 0),
        lambda: os.pwrite(0, "text", 0),
        lambda: os.fsync(-1),
        lambda: os.fsync("x"),
        lambda: os.ftruncate(-1, 0),
        lambda: os.mkdir("x", mode="y"),
    ],
)
def test_misuse_raises_what_stock_raises(misuse: Callable[[], Any]) -> None:
    def error() -> tuple[type, str]:
        with pytest.raises((OSError, TypeError, ValueError)) as raised:
            misuse()
        return raised.type, str(raised.value)

    stock = error()
    capriccio_patch.patch_all()
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        assert error() == stock
    finally:
        done.set()
        other.join()
        capriccio_patch.unpatch_all()


def test_functions_are_still_known_to_take_descriptors() -> None:
    """Sets keyed by a function find it, though its hash has changed."""
    capriccio_patch.patch_all()
    try:
        assert os.stat in os.supports_dir_fd
        assert os.scandir in os.supports_fd
    finally:
        capriccio_patch.unpatch_all()
    assert os.stat in os.supports_dir_fd
    assert os.scandir in os.supports_fd


def test_a_path_like_object_is_asked_once(beside_another: None, tmp_path: Path) -> None:
    asked = []

    class Counted:
        def __fspath__(self) -> str:
            asked.append(threading.get_ident())
            return str(tmp_path / "made")

    os.mkdir(Counted())
    assert asked == [threading.get_ident()]


# -- who waits -----------------------------------------------------------------------------------


@needs_openat2
def test_what_the_kernel_remembers_is_looked_up_directly(
    ticker: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "file"
    path.touch()
    with ticker():
        requests = request.getfixturevalue("requests")
        os.stat(path)
        os.lstat(path)
        os.access(path, os.R_OK)
        os.listdir(tmp_path)
        os.close(os.open(path, os.O_RDONLY))
        open(path, "rb").close()
        assert requests == []


@needs_openat2
def test_what_the_kernel_has_to_look_for_becomes_a_request(
    ticker: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with ticker():
        requests = request.getfixturevalue("requests")
        with pytest.raises(FileNotFoundError):
            os.stat(tmp_path / "a name that was never looked up")
        assert len(requests) == 1


def test_a_thread_alone_asks_nobody(
    patched: None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    requests = request.getfixturevalue("requests")
    assert not os.path.exists(tmp_path / "another name that was never looked up")
    (tmp_path / "file").write_bytes(b"x" * 10)
    with open(tmp_path / "file", "rb+") as file:
        os.fsync(file.fileno())
        file.truncate(3)
    large = os.urandom(5 * CHUNK + 1)
    with open(tmp_path / "large", "wb+") as file:
        assert file.write(large) == len(large)
        assert os.pread(file.fileno(), len(large), 1) == large[1:]
        file.seek(0)
        assert file.read() == large
    assert (tmp_path / "large").read_bytes() == large
    assert requests == []


def test_syncs_become_requests(ticker: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with ticker(), open(tmp_path / "file", "wb", buffering=0) as file:
        requests = request.getfixturevalue("requests")
        if file.write(b"x"):
            os.fsync(file)
            os.fdatasync(file.fileno())
        assert [each.operation.value for each in requests] == ["fsync", "fdatasync"]
