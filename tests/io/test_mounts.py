"""Which files are on this machine, and that the others are left to workers from the first call."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.io import mounts
from capriccio_patch.io.disk_services import DiskServices

needs_statx = pytest.mark.skipif(
    mounts.Mounts()._statx is None or not Path("/proc/self/mountinfo").exists(),
    reason="nothing tells the mount of a file",
)


def test_files_of_this_machine_are_local() -> None:
    is_local = mounts.Mounts().is_local
    for path in ("/dev", "/proc", "/dev/null"):
        if os.path.exists(path):
            fd = os.open(path, os.O_RDONLY)
            assert is_local(fd)
            os.close(fd)


@needs_statx
def test_what_is_mounted_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    asked: list[int] = []

    def find(mount: int) -> bytes:
        asked.append(mount)
        return b"nfs4"

    monkeypatch.setattr(mounts, "_find", find)
    is_local = mounts.Mounts().is_local
    assert not is_local(fd)
    assert not is_local(fd)
    assert len(asked) == 1
    os.close(fd)
    monkeypatch.undo()
    assert mounts._find(asked[0]) not in (b"", b"nfs4")


@needs_statx
def test_what_is_no_file_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_LOCAL", frozenset())
    is_local = mounts.Mounts().is_local
    reader, writer = os.pipe()
    assert is_local(reader)
    os.close(reader)
    os.close(writer)
    assert is_local(reader)
    with socket.socket() as sock:
        assert is_local(sock.fileno())


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What workers are given, under a patch to which no file system is local."""
    monkeypatch.setattr(mounts, "_LOCAL", frozenset())
    seen: list[Any] = []
    submit = DiskServices.submit

    def recorded(self: DiskServices, request: Any) -> None:
        seen.append(request)
        submit(self, request)

    monkeypatch.setattr(DiskServices, "submit", recorded)
    capriccio_patch.patch_all(diskio="auto")
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    try:
        other.start()
        yield seen
    finally:
        done.set()
        other.join()
        capriccio_patch.unpatch_all()


@needs_statx
def test_workers_do_what_is_not_local(requests: list[Any], tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    calls: dict[str, tuple[Callable[[], Any], Any]] = {
        "write": (lambda: os.write(fd, b"abc"), 3),
        "read": (lambda: os.read(os.open(tmp_path / "file", os.O_RDONLY), 100), b"abc"),
        "fstat": (lambda: os.fstat(fd).st_size, 3),
        "stat": (lambda: os.stat(tmp_path / "file").st_size, 3),
        "chmod": (lambda: os.chmod(tmp_path / "file", 0o600), None),
        "fchmod": (lambda: os.fchmod(fd, 0o600), None),
        "listdir": (lambda: os.listdir(tmp_path), ["file"]),
        "symlink": (lambda: os.symlink("file", tmp_path / "link"), None),
        "rename": (lambda: os.rename(tmp_path / "link", tmp_path / "name"), None),
        "unlink": (lambda: os.unlink(os.fsencode(tmp_path / "name")), None),
        "mkdir": (lambda: os.mkdir("directory/", dir_fd=os.open(tmp_path, os.O_RDONLY)), None),
        "rmdir": (lambda: os.rmdir(tmp_path / "directory"), None),
    }
    for name, (call, result) in calls.items():
        del requests[:]
        assert call() == result, name
        assert requests, name
    os.close(fd)


@needs_statx
def test_a_worker_reads_the_directory(requests: list[Any], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).touch()
    del requests[:]
    with os.scandir(tmp_path) as entries:
        assert iter(entries) is entries
        assert next(entries).name in ("one", "two")
        assert len(list(entries)) == 1
    assert len(requests) == 1
    with os.scandir(str(tmp_path)) as entries:
        pass
    assert list(entries) == []
    with pytest.raises(FileNotFoundError):
        os.scandir(tmp_path / "none")


@needs_statx
def test_sendfile_to_a_file(requests: list[Any], tmp_path: Path) -> None:
    if not hasattr(os, "sendfile"):
        pytest.skip("no os.sendfile")
    (tmp_path / "from").write_bytes(b"abc")
    with open(tmp_path / "from", "rb") as source, open(tmp_path / "to", "wb") as target:
        del requests[:]
        assert os.sendfile(target.fileno(), source.fileno(), 0, 10) == 3
        assert requests
    assert (tmp_path / "to").read_bytes() == b"abc"


@needs_statx
def test_a_worker_closes(requests: list[Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    with open(tmp_path / "file", "rb", 0) as file:
        del requests[:]
        os.close(fd)
        assert len(requests) == 1
    assert file.closed
    assert len(requests) == 2
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(fd)


@needs_statx
def test_a_worker_asks_for_an_entrys_status(requests: list[Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(".")
    entries = {entry.name: entry for entry in os.scandir(tmp_path)}
    del requests[:]
    assert entries["file"].stat().st_size == 3
    assert entries["link"].is_dir()
    assert len(requests) == 2
    assert entries["file"].is_file()
    assert len(requests) == 2
