"""``os`` on paths and regular files: stock's results in every scheme, and nobody else waits."""

from __future__ import annotations

import fcntl
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch import api
from capriccio_patch.backends.disk import available_disk_backends
from capriccio_patch.io.disk import CHUNK
from capriccio_patch.io.name_cache import ABSENT, WAIT, Lookup

AVAILABLE = [n for n, reason in available_disk_backends().items() if reason is None]
needs_openat2 = pytest.mark.skipif(not Lookup().works, reason="no openat2")


@pytest.fixture(params=["auto", *AVAILABLE])
def beside_another(request: pytest.FixtureRequest) -> Iterator[None]:
    """The patch with every scheme, and a second thread, without which nothing would park."""
    capriccio_patch.patch_all(diskio=request.param)
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    yield
    done.set()
    other.join()
    capriccio_patch.unpatch_all()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What becomes a request of the disk scheme from now on."""
    applied = api._applied
    assert applied is not None
    backend = applied.runtime.disk.backend
    seen: list[Any] = []
    begin = backend.add_request

    def add_request(request: Any) -> bool:
        seen.append(request)
        return begin(request)

    monkeypatch.setattr(backend, "add_request", add_request)
    return seen


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


def test_opening_a_fifo_parks(ticker: Any, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    others: list[int] = []
    with ticker().at(3, lambda: others.append(os.open(path, os.O_WRONLY))):
        fd = os.open(path, os.O_RDONLY)
    os.close(fd)
    os.close(others.pop())


def test_an_open_that_is_given_up_leaves_no_descriptor(
    run_script: Callable[..., Any], tmp_path: Path
) -> None:
    code = """
        import capriccio_patch, os, signal, sys, threading
        capriccio_patch.patch_all()
        path = sys.argv[1]
        os.mkfifo(path)

        def ring(*_):
            raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            os.open(path, os.O_RDONLY)
        except KeyboardInterrupt:
            pass
        writer = os.open(path, os.O_WRONLY)  # the abandoned open is its other end
        poll = __import__("select").poll()
        poll.register(writer, 0)
        print([event & 8 for _, event in poll.poll(5000)])  # closed: POLLERR
    """
    assert run_script(code, str(tmp_path / "fifo")).stdout == "[8]\n"


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


@needs_openat2
def test_the_cache_of_names(tmp_path: Path) -> None:
    lookup = Lookup()
    path = tmp_path / "file"
    assert lookup.mode(path) in (WAIT, ABSENT)
    path.touch()
    (tmp_path / "link").symlink_to("nowhere")
    os.path.exists(tmp_path / "link")
    assert stat.S_ISREG(lookup.mode(path))
    assert stat.S_ISREG(lookup.mode(os.fsencode(path)))
    assert lookup.mode("a\0b") == ABSENT
    assert lookup.mode(tmp_path / "link") == ABSENT
    assert lookup.is_cached(tmp_path / "link", follow=False)
    at = os.open(tmp_path, os.O_RDONLY)
    assert stat.S_ISREG(lookup.mode("file", at))
    os.close(at)


def test_opening_leaves_stocks_flags_and_mode(beside_another: None, tmp_path: Path) -> None:
    path = tmp_path / "file"
    old = os.umask(0o027)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_TRUNC, os.O_NONBLOCK):
        fd = os.open(path, flags)
        found = fcntl.fcntl(fd, fcntl.F_GETFL)
        known = os.O_NONBLOCK | os.O_APPEND | os.O_ACCMODE
        assert found & known == flags & known
        assert not os.get_inheritable(fd)
        os.close(fd)
    for mode in ("r", "w", "a", "r+", "ab", "rb"):
        with open(path, mode) as file:
            assert file.name == str(path)
            assert not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_NONBLOCK
            assert not os.get_inheritable(file.fileno())
    with pytest.raises(FileExistsError) as caught:
        io.open(path, "x")  # noqa: SIM115, UP020
    assert caught.value.filename == str(path)
    with pytest.raises(FileExistsError):
        os.open(path, os.O_CREAT | os.O_EXCL)
    with pytest.raises(IsADirectoryError):
        io.open(tmp_path)  # noqa: SIM115, UP020
    with pytest.raises(ValueError, match="Cannot use closefd=False with file name"):
        io.open(path, closefd=False)  # noqa: SIM115, UP020
    with io.FileIO(path) as raw:  # type: ignore[arg-type]
        assert raw.name is path


@needs_openat2
@pytest.mark.parametrize("mode", ["r", "w", "a", "r+", "w+"])
def test_a_file_that_is_there_is_opened_at_once(
    ticker: Any, tmp_path: Path, request: pytest.FixtureRequest, mode: str
) -> None:
    """No worker is asked, whatever it is opened for; what is in it is emptied as in stock."""
    path = tmp_path / "file"
    with ticker():
        path.write_bytes(b"old")
        assert api._applied is not None
        if not api._applied.runtime.disk.backend.asks_cache:
            pytest.skip("this scheme asks for every open")
        requests = request.getfixturevalue("requests")
        with open(path, mode + "b") as file:
            assert file.tell() == (3 if mode == "a" else 0)
        assert path.stat().st_size == (0 if "w" in mode else 3)
        assert [each.operation.value for each in requests] in ([], ["truncate"] * ("w" in mode))


def test_what_may_not_be_emptied_is_refused_as_in_stock(
    beside_another: None, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for flags in (os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_WRONLY, os.O_DIRECTORY | os.O_TRUNC):
        with pytest.raises(OSError, match="file"):
            os.open(path, flags)
    assert path.read_bytes() == b"old"


def test_an_open_is_audited_once(run_script: Any, tmp_path: Path) -> None:
    """In a process of its own: a hook stays, and what runs in it can be interrupted anywhere."""
    path = tmp_path / "file"
    path.touch()
    run_script(
        """
        import os, sys, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        path = sys.argv[1]
        over = threading.Event()
        another = threading.Thread(target=over.wait)
        another.start()
        events = []
        def hook(event, args):
            if event == "open" and args[0] == path:
                events.append(args)
        sys.addaudithook(hook)
        os.close(os.open(path, os.O_RDWR))
        open(path).close()
        (_, mode, flags), (_, named, _) = events
        assert (mode, flags, named) == (None, os.O_RDWR | os.O_CLOEXEC, "r"), events
        os.write(os.open(path, os.O_WRONLY), b"kept")
        def refuse(event, args):
            if event == "open" and args[0] == path and args[2] & os.O_TRUNC:
                raise PermissionError("no")
        sys.addaudithook(refuse)
        for way in (lambda: os.open(path, os.O_WRONLY | os.O_TRUNC), lambda: open(path, "w")):
            try:
                way()
            except PermissionError:
                continue
            raise AssertionError("it was opened")
        assert open(path).read() == "kept"
        over.set()
        another.join()
        """,
        str(path),
    )


def test_entries_tell_what_stock_tells(beside_another: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("abc")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    (tmp_path / "broken").symlink_to("nothing")
    with os.scandir(tmp_path) as found:
        entries = {entry.name: entry for entry in found}
    assert {name for name, entry in entries.items() if entry.is_dir()} == {"directory", "link"}
    assert [n for n, entry in entries.items() if entry.is_dir(follow_symlinks=False)] == [
        "directory"
    ]
    assert [name for name, entry in entries.items() if entry.is_file()] == ["file"]
    assert entries["file"].stat().st_size == 3
    assert stat.S_ISDIR(entries["link"].stat().st_mode)
    assert stat.S_ISLNK(entries["link"].stat(follow_symlinks=False).st_mode)
    with pytest.raises(FileNotFoundError):
        entries["broken"].stat()
    with pytest.raises(TypeError, match="positional argument"):
        entries["file"].stat(True)  # type: ignore[misc]
