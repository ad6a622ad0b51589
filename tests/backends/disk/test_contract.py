"""The contract of the disk schemes, each of them, and what chooses among them."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.backends import disk as schemes
from capriccio_patch.backends.disk import io_uring, nowait
from capriccio_patch.backends.disk.blocking import BlockingBackend
from capriccio_patch.backends.disk.io_uring import IoUringBackend
from capriccio_patch.backends.disk.workers import WorkersBackend
from capriccio_patch.cpython import originals
from capriccio_patch.errors import BackendUnavailable, ConfigError
from capriccio_patch.io.disk import CHUNK, Disk
from tests.conftest import forks
from tests.inside import applied, here

AVAILABLE = [n for n, reason in schemes.available_disk_backends().items() if reason is None]
DATA = os.urandom(2 * CHUNK + 12345)
needs_ring = pytest.mark.skipif("io_uring" not in AVAILABLE, reason="no io_uring")


@pytest.fixture(params=["auto", *AVAILABLE])
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    """The disk of a patch with each scheme, beside a thread that makes waiting necessary."""
    capriccio_patch.patch_all(diskio=request.param)
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        yield applied().runtime.disk
    finally:
        done.set()
        other.join()
        capriccio_patch.unpatch_all()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A file that holds DATA; at its start."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, DATA)
    os.lseek(fd, 0, os.SEEK_SET)
    yield fd
    os.close(fd)


def forget_cached(fd: int) -> None:
    """Have the next read find nothing in the page cache."""
    os.fsync(fd)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("cached", [True, False])
def test_reads_go_on_at_the_position_and_end_at_the_end(
    disk: Disk, file: int, cached: bool
) -> None:
    if not cached:
        forget_cached(file)
    assert disk.read(file, 5000) == DATA[:5000]
    assert os.lseek(file, 0, os.SEEK_CUR) == 5000
    assert disk.read(file, 2 * len(DATA)) == DATA[5000:]
    assert disk.read(file, 10) == b""


@pytest.mark.parametrize("cached", [True, False])
def test_a_read_at_an_offset_leaves_the_position(disk: Disk, file: int, cached: bool) -> None:
    if not cached:
        forget_cached(file)
    assert disk.pread(file, 8192, 100) == DATA[100:8292]
    assert disk.pread(file, 100, len(DATA) - 10) == DATA[-10:]
    assert disk.pread(file, 10, len(DATA)) == b""
    assert os.lseek(file, 0, os.SEEK_CUR) == 0


def test_a_read_that_is_partly_cached_is_whole(disk: Disk, file: int) -> None:
    forget_cached(file)
    os.pread(file, 4096, 0)
    assert disk.pread(file, CHUNK, 0) == DATA[:CHUNK]


def test_vectors(disk: Disk, file: int) -> None:
    one, two = bytearray(3), bytearray(5)
    assert disk.readv(file, [one, two]) == 8
    assert bytes(one + two) == DATA[:8]
    assert disk.writev(file, [b"ab", bytearray(b"cd")], 1) == 4
    assert disk.readv(file, [one, two], len(DATA) - 4) == 4
    assert bytes(one + two[:1]) == DATA[-4:]
    assert disk.pread(file, 6, 0) == DATA[:1] + b"abcd" + DATA[5:6]


@pytest.mark.parametrize("size", [1, 4096, CHUNK + 1])
def test_writes_go_to_the_position_or_the_offset(disk: Disk, file: int, size: int) -> None:
    data = os.urandom(size)
    assert disk.write(file, data) == size
    assert os.lseek(file, 0, os.SEEK_CUR) == size
    assert disk.write(file, memoryview(data), 7) == size
    assert os.lseek(file, 0, os.SEEK_CUR) == size
    expected = bytearray(DATA[: size + 7])
    expected[:size] = expected[7:] = data
    assert os.pread(file, size + 7, 0) == expected


def test_appending_writes_at_the_end(disk: Disk, tmp_path: Path) -> None:
    fds = [os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND) for _ in range(2)]
    lines = [bytes([65 + i]) * 700 for i in range(20)]

    def append(i: int) -> None:
        assert here().disk.write(fds[i % 2], lines[i]) == 700

    threads = [threading.Thread(target=append, args=(i,)) for i in range(len(lines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for fd in fds:
        os.close(fd)
    content = (tmp_path / "log").read_bytes()
    assert sorted(content[at : at + 700] for at in range(0, len(content), 700)) == sorted(lines)


def test_errors_are_those_of_the_calls(disk: Disk, file: int) -> None:
    bad = os.dup(file)
    os.close(bad)
    for call in (
        lambda: disk.read(bad, 1),
        lambda: disk.pread(bad, 1, 0),
        lambda: disk.write(bad, b"x"),
        lambda: disk.write(bad, b"x", 0),
        lambda: disk.fsync(bad),
        lambda: disk.fdatasync(bad),
    ):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_device(disk: Disk) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left") as raised:
        disk.write(fd, b"x")
    os.close(fd)
    assert raised.value.errno == errno.ENOSPC


def test_syncs_and_calls(disk: Disk, file: int) -> None:
    disk.fsync(file)
    disk.fdatasync(file)
    assert disk.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        disk.call(divmod, 1, 0)
    assert disk.change(lambda: 5) == 5


def test_many_threads_with_their_own_files(disk: Disk, tmp_path: Path) -> None:
    done = []

    def work(number: int) -> None:
        disk = here().disk
        data = bytes([number]) * (1000 + number)
        fd = os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT)
        assert disk.write(fd, data) == len(data)
        disk.fdatasync(fd)
        forget_cached(fd)
        assert disk.pread(fd, 5000, 3) == data[3:]
        os.close(fd)
        done.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(100))


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="no O_DIRECT")
def test_direct_transfers_are_aligned(disk: Disk, file: int, tmp_path: Path) -> None:
    os.fsync(file)
    try:
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_DIRECT)
    except OSError:
        pytest.skip("the file system has no O_DIRECT")
    assert fd in disk.synchronous
    block = mmap.mmap(-1, 4096)
    assert disk.readinto(fd, memoryview(block)) == 4096
    assert block[:] == DATA[:4096]
    block[:4] = b"abcd"
    assert disk.write(fd, memoryview(block), 4096) == 4096
    os.close(fd)
    assert os.pread(file, 4, 4096) == b"abcd"


def test_a_request_owns_its_memory(disk: Disk, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's buffer may be gone when an abandoned request is carried out."""
    requests: list[Any] = []

    def abandon(request: Any) -> bool:
        requests.append(request)
        raise KeyboardInterrupt

    buffer = bytearray(1000)
    with monkeypatch.context() as patch:
        patch.setattr(disk.backend, "add_request", abandon)
        patch.setattr(disk, "_read_now", lambda *_: -1)
        patch.setattr(disk, "_write_now", lambda *_: -1)
        with pytest.raises(KeyboardInterrupt):
            disk.readinto(file, buffer)
        with pytest.raises(KeyboardInterrupt):
            disk.write(file, memoryview(buffer), 0)
    read, write = requests
    read.perform()
    assert read.result == DATA[:1000]
    assert buffer == bytes(1000)
    buffer[:] = b"x" * 1000
    write.perform()
    assert os.pread(file, 1000, 0) == bytes(1000)


def test_a_file_is_emptied(disk: Disk, file: int) -> None:
    for _ in range(2):
        os.lseek(file, 10, os.SEEK_SET)
        disk.empty(file)
        assert os.fstat(file).st_size == os.lseek(file, 0, os.SEEK_CUR) == 0
    reader = os.open(f"/dev/fd/{file}", os.O_RDONLY)
    os.write(file, b"x")
    with pytest.raises(OSError, match="Invalid argument"):
        disk.empty(reader)
    os.close(reader)
    assert os.fstat(file).st_size == 1


def test_who_is_interrupted_while_a_file_is_emptied_may_close_it(
    disk: Disk, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request has a descriptor of its own: it can't meet another file."""
    if not disk.backend.empties:
        pytest.skip("this scheme does it directly")
    requests: list[Any] = []

    def abandon(request: Any) -> bool:
        requests.append(request)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(disk.backend, "add_request", abandon)
        with pytest.raises(KeyboardInterrupt):
            disk.empty(file)
    (request,) = requests
    assert request.fd != file
    request.perform()
    assert os.fstat(file).st_size == 0
    os.fstat(request.fd)
    request.complete()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(request.fd)


@forks
def test_a_child_has_schemes_of_its_own(disk: Disk, file: int) -> None:
    forget_cached(file)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            other = threading.Thread(target=disk.fsync, args=(file,))
            other.start()
            if disk.pread(file, 5000, 10) == DATA[10:5010]:
                other.join()
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert disk.pread(file, 5, 0) == DATA[:5]


# -- the choice ----------------------------------------------------------------------------------


def test_auto_names_what_it_is_made_of() -> None:
    capriccio_patch.patch_all(diskio="nowait")
    try:
        assert capriccio_patch.status()["diskio"] == "nowait+workers"
    finally:
        capriccio_patch.unpatch_all()


def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(ConfigError, match="unknown disk I/O scheme 'floppy'"):
        schemes.create_disk_backend("floppy")


def test_a_scheme_that_cannot_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IoUringBackend, "is_available", classmethod(lambda _: "it is forbidden"))
    with pytest.raises(BackendUnavailable, match="io_uring: it is forbidden"):
        schemes.create_disk_backend("io_uring")
    auto = schemes.create_disk_backend("auto")
    assert "workers" in auto.name


def test_registered_schemes_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tape(BlockingBackend):
        kind = "tape"

    monkeypatch.setattr(schemes.REGISTRY, "classes", dict(schemes.REGISTRY.classes))
    schemes.register_disk_backend("tape", Tape)
    assert type(schemes.create_disk_backend("tape")) is Tape


def test_the_environment_chooses(run_script: Callable[..., Any]) -> None:
    code = "import capriccio_patch as c; c.patch_all(); print(c.status()['diskio'])"
    assert run_script(code, env={"CAPRICCIO_DISKIO": "workers"}).stdout == "workers\n"


# -- single schemes ------------------------------------------------------------------------------


@needs_ring
def test_io_uring_denied_falls_back(run_script: Callable[..., Any]) -> None:
    """As containers do it."""
    code = """
        from tests.fakes import seccomp

        seccomp.deny(seccomp.IO_URING_SETUP)
        import capriccio_patch
        print(capriccio_patch.available_disk_backends()["io_uring"])
        capriccio_patch.patch_all()
        print(capriccio_patch.status()["diskio"])
    """
    reason, name = run_script(code).stdout.splitlines()
    assert "seccomp" in reason
    assert name.endswith("workers")


@needs_ring
def test_io_uring_takes_more_requests_than_it_has_room_for(tmp_path: Path) -> None:
    capriccio_patch.patch_all(diskio="io_uring")
    try:
        path = tmp_path / "file"
        path.write_bytes(DATA[:100_000])
        fd = os.open(path, os.O_RDONLY)
        got: list[bool] = []

        def read(at: int) -> None:
            got.append(here().disk.pread(fd, 100, at) == DATA[at : at + 100])

        threads = [threading.Thread(target=read, args=(i,)) for i in range(3 * io_uring._ENTRIES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.close(fd)
        assert got == [True] * len(threads)
    finally:
        capriccio_patch.unpatch_all()


@needs_ring
def test_a_kernel_whose_io_uring_can_empty_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticker: Any
) -> None:
    """It is found out once; after that the file is emptied directly."""
    monkeypatch.setattr(io_uring, "_FTRUNCATE", 250)
    disk = applied().runtime.disk
    path = tmp_path / "file"
    with ticker():
        for _ in range(2):
            path.write_bytes(b"x" * 100)
            with open(path, "w") as file:
                assert os.fstat(file.fileno()).st_size == 0
            assert not disk.backend.empties


class Recorder(WorkersBackend):
    """Counts the requests."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def add_request(self, request: Any) -> bool:
        self.requests.append(request)
        return super().add_request(request)


class Local:
    """The services that matter here."""

    def is_local(self, fd: int) -> bool:
        return True


class Time:
    """What the clocks say, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.cpu, self.delay = 100.0, 3.0, 7.0
        monkeypatch.setattr(nowait.originals, "monotonic", lambda: self.now)
        monkeypatch.setattr(nowait.originals, "thread_time", lambda: self.cpu)
        monkeypatch.setattr(nowait, "cpu_delay", lambda native_id: self.delay)

    def call(self, backend: Any, wait: float = 0.0, cpu: float = 0.0, delay: float = 0.0) -> None:
        """A call is made directly; what it spends its time with."""
        self.cpu += cpu
        self.delay += delay
        self.now += wait + cpu + delay
        backend.note_time(wait + cpu + delay)


@pytest.mark.skipif("nowait" not in AVAILABLE, reason="no RWF_NOWAIT")
def test_nowait_leaves_alone_what_is_slow(monkeypatch: pytest.MonkeyPatch, file: int) -> None:
    """After one call that had to wait the next ones become requests, until the pause is over."""
    time = Time(monkeypatch)
    backend = nowait.NowaitBackend(Recorder())
    backend.init(Local())
    assert backend.is_prompt()
    assert backend.write_now(file, b"x", 0) == 1
    time.call(backend, wait=0.2)
    assert not backend.is_prompt()
    assert backend.write_now(file, b"x", 0) == -1
    time.now += nowait._PAUSE
    assert backend.is_prompt()
    time.call(backend, wait=0.2)
    time.now += nowait._PAUSE
    assert not backend.is_prompt()
    time.now += nowait._PAUSE
    assert backend.is_prompt()


@pytest.mark.skipif("nowait" not in AVAILABLE, reason="no RWF_NOWAIT")
def test_nowait_leaves_alone_what_is_often_a_little_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    backend = nowait.NowaitBackend(Recorder())
    backend.init(Local())
    for _ in range(100):  # now and then: nobody minds
        time.call(backend, wait=0.005)
        time.now += nowait._LOOK
        assert backend.is_prompt()
    for _ in range(3):
        assert backend.is_prompt()
        time.call(backend, wait=0.005)
    assert not backend.is_prompt()


@pytest.mark.skipif("nowait" not in AVAILABLE, reason="no RWF_NOWAIT")
@pytest.mark.parametrize("what", ["cpu", "delay"])
def test_nowait_does_not_take_a_busy_machine_for_a_slow_disk(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Neither what the OS thread computed, collecting garbage perhaps, nor what it had no CPU for
    was a wait.
    """
    time = Time(monkeypatch)
    backend = nowait.NowaitBackend(Recorder())
    backend.init(Local())
    time.call(backend, **{what: 0.2})
    assert backend.is_prompt()
    time.call(backend, wait=0.2)
    assert not backend.is_prompt()
    time.now += nowait._PAUSE
    setattr(time, what, getattr(time, what) + 0.2)
    assert backend.is_prompt()  # which looks, and knows that it was before the next call
    time.call(backend, wait=0.2)
    assert not backend.is_prompt()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no procfs")
@pytest.mark.skipif("nowait" not in AVAILABLE, reason="no RWF_NOWAIT")
def test_nowait_reads_pseudo_files_directly() -> None:
    slow = Recorder()
    backend = nowait.NowaitBackend(slow)
    backend.init(Local())
    fd = os.open("/proc/self/stat", os.O_RDONLY)
    buffer = bytearray(4096)
    assert backend.read_now(fd, buffer, -1) > 10
    os.close(fd)
    assert not slow.requests


@pytest.mark.parametrize("scheme", ["auto", *(n for n in AVAILABLE if n != "blocking")])
def test_a_slow_call_stops_nobody(
    scheme: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """One that ends when another thread has had three turns."""
    monkeypatch.setenv("CAPRICCIO_DISKIO", scheme)
    ticker: Callable[..., Any] = request.getfixturevalue("ticker")
    reader, writer = os.pipe()
    with ticker().at(3, lambda: os.write(writer, b"x")):
        assert applied().runtime.disk.call(originals.read, reader, 1) == b"x"
    os.close(reader)
    os.close(writer)
