"""``os`` on what can be waited for: pipes, fifos, sockets, terminals, eventfds."""

from __future__ import annotations

import os
import pty
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import capriccio_patch
from tests.conftest import ROOT, in_order, let_others_park
from tests.wrappers.files.ends import (
    BIG,
    Ends,
    in_thread,
    read_exactly,
)

needs_eventfd = pytest.mark.skipif(not hasattr(os, "eventfd"), reason="no eventfd")


# -- reading and writing -------------------------------------------------------------------------


def test_a_read_lets_others_run(ticker: Any, ends: Ends) -> None:
    with ticker().at(3, lambda: os.write(ends.writer, b"hello")):
        assert os.read(ends.reader, 100) == b"hello"
        assert os.get_blocking(ends.reader)


def test_either_end_over_every_scheme(scheme: None, ticker: Any, pipe: Ends) -> None:
    with ticker().at(3, lambda: os.write(pipe.writer, b"hello")):
        assert os.read(pipe.reader, 100) == b"hello"
    received = in_thread(lambda: read_exactly(pipe.reader, len(BIG)))
    assert os.write(pipe.writer, BIG) == len(BIG)
    assert received() == BIG


def test_a_vectored_read_lets_others_run(ticker: Any, ends: Ends) -> None:
    buffers = [bytearray(2), bytearray(10)]
    with ticker().at(3, lambda: os.write(ends.writer, b"hello")):
        assert os.readv(ends.reader, buffers) == 5
    assert b"".join(buffers)[:5] == b"hello"


def test_a_write_writes_everything(ticker: Any, ends: Ends) -> None:
    with ticker(0.0) as ticks:  # all of it may take less than a millisecond
        received = in_thread(lambda: read_exactly(ends.reader, len(BIG), pause=True))
        assert os.write(ends.writer, BIG) == len(BIG)
        assert received() == BIG
        assert ticks.ticks > 1
        assert os.get_blocking(ends.writer)


def test_a_vectored_write_writes_everything(patched: None, ends: Ends) -> None:
    received = in_thread(lambda: read_exactly(ends.reader, len(BIG)))
    pieces = [BIG[:3], memoryview(BIG)[3:500_000], bytearray(BIG[500_000:])]
    assert os.writev(ends.writer, pieces) == len(BIG)
    assert received() == BIG


@pytest.mark.skipif(sys.platform != "linux", reason="offset -1 is Linux's")
def test_the_current_position_of_what_has_none(ticker: Any, pipe: Ends) -> None:
    buffer = bytearray(5)
    with ticker().at(3, lambda: os.pwritev(pipe.writer, [b"he", b"llo"], -1)):
        assert os.preadv(pipe.reader, [buffer], -1) == 5
    assert buffer == b"hello"
    with pytest.raises(BlockingIOError):
        os.preadv(pipe.reader, [buffer], -1, os.RWF_NOWAIT)
    with pytest.raises(OSError, match="seek"):
        os.preadv(pipe.reader, [buffer], 0)


@pytest.mark.parametrize("size", [65_536, 65_537, 1 << 20, 1 << 24])
def test_reads_of_any_size(patched: None, pipe: Ends, size: int) -> None:
    sent = in_thread(lambda: os.write(pipe.writer, BIG))
    first = os.read(pipe.reader, size)
    assert BIG.startswith(first)
    assert first
    assert read_exactly(pipe.reader, len(BIG) - len(first)) == BIG[len(first) :]
    assert sent() == len(BIG)


def test_the_end_of_a_stream(ticker: Any, ends: Ends) -> None:
    def hang_up() -> None:
        os.close(ends.writer)

    with ticker().at(3, hang_up):
        found = outcome(lambda: os.read(ends.reader, 10))
    assert found in (b"", (OSError, "[Errno 5] Input/output error"))  # of a terminal's master


def test_a_broken_pipe(ticker: Any, pipe: Ends) -> None:
    """What was written before counts; the next call meets the error."""
    with ticker().at(3, lambda: os.close(pipe.reader)):
        assert 0 < os.write(pipe.writer, BIG) < len(BIG)
        with pytest.raises(BrokenPipeError):
            os.write(pipe.writer, BIG)


def test_readers_are_served_in_order(patched: None, pipe: Ends) -> None:
    order: list[tuple[int, bytes]] = []
    threads = []
    for number in range(10):
        thread = threading.Thread(
            target=lambda number=number: order.append((number, os.read(pipe.reader, 1)))
        )
        thread.start()
        threads.append(thread)
    let_others_park()
    for each in b"abcdefghij":
        os.write(pipe.writer, bytes([each]))
        time.sleep(0)
    for thread in threads:
        thread.join(10)
    numbers, letters = zip(*order, strict=True)
    assert in_order([*numbers]) == list(range(10))
    assert in_order([*letters]) == [bytes([each]) for each in b"abcdefghij"]


def test_writers_lose_nothing(patched: None, pipe: Ends) -> None:
    piece = 100_000
    sent = [in_thread(lambda b=b: os.write(pipe.writer, bytes([b]) * piece)) for b in range(10)]
    data = read_exactly(pipe.reader, 10 * piece)
    assert [each() for each in sent] == [piece] * 10
    assert sorted(data) == sorted(bytes(range(10)) * piece)


def test_small_writes_stay_whole(patched: None, pipe: Ends) -> None:
    """Up to PIPE_BUF bytes are written at once or not at all."""
    size = 4096
    sent = [
        in_thread(lambda b=b: [os.write(pipe.writer, bytes([b]) * size) for _ in range(20)])
        for b in range(4)
    ]
    for _ in range(80):
        data = read_exactly(pipe.reader, size)
        assert data == data[:1] * size
    for each in sent:
        assert each() == [size] * 20


def test_a_socket_object_and_its_number_side_by_side(scheme: None, patched: None) -> None:
    """Each must see what the other has left."""
    one, other = socket.socketpair()
    with one, other:
        for _ in range(3):
            received = in_thread(lambda: one.recv(100))
            let_others_park()
            other.send(b"a")
            assert received() == b"a"
            received = in_thread(lambda: os.read(one.fileno(), 100))
            let_others_park()
            os.write(other.fileno(), b"b")
            assert received() == b"b"
        other.send(b"cd")
        assert os.read(one.fileno(), 1) == b"c"
        assert one.recv(1) == b"d"
        readers = [in_thread(lambda: one.recv(1)), in_thread(lambda: os.read(one.fileno(), 1))]
        let_others_park()
        other.send(b"xx")
        assert [each() for each in readers] == [b"x", b"x"]


def test_what_the_program_made_non_blocking_never_waits(patched: None, ends: Ends) -> None:
    os.set_blocking(ends.reader, False)
    os.set_blocking(ends.writer, False)
    with pytest.raises(BlockingIOError):
        os.read(ends.reader, 1)
    with pytest.raises(BlockingIOError):
        os.readv(ends.reader, [bytearray(1)])
    written = os.write(ends.writer, BIG)
    assert 0 < written < len(BIG)
    while True:
        try:
            os.write(ends.writer, BIG)
        except BlockingIOError:
            break
    assert os.read(ends.reader, 1) == BIG[:1]


def test_a_descriptor_that_another_process_reads_too(patched: None, pipe: Ends) -> None:
    """That it was readable proves nothing: the other one may have been faster."""
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-S", "-c", f"import os\nwhile os.read({pipe.reader}, 1): pass"],
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, pipe.reader, pipe.reader)],
    )
    os.set_inheritable(pipe.reader, False)
    mine: list[bytes] = []

    def read() -> None:
        while data := os.read(pipe.reader, 1):
            mine.append(data)

    reader = in_thread(read)
    for _ in range(300):
        os.write(pipe.writer, b"x")
        time.sleep(0)
    os.close(pipe.writer)
    reader()
    assert os.waitpid(child, 0)[1] == 0


# -- eventfds ------------------------------------------------------------------------------------


@pytest.fixture
def eventfd() -> Iterator[int]:
    fd = os.eventfd(0)
    yield fd
    os.close(fd)


@needs_eventfd
def test_reading_an_eventfd(scheme: None, ticker: Any, eventfd: int) -> None:
    with ticker().at(3, lambda: os.eventfd_write(eventfd, 3)):
        assert os.eventfd_read(eventfd) == 3
    with ticker().at(3, lambda: os.write(eventfd, (5).to_bytes(8, sys.byteorder))):
        assert int.from_bytes(os.read(eventfd, 8), sys.byteorder) == 5
    with open(eventfd, "r+b", buffering=0, closefd=False) as file:
        os.eventfd_write(file, 7)  # type: ignore[arg-type]
        assert os.eventfd_read(file) == 7  # type: ignore[arg-type]


@needs_eventfd
@pytest.mark.parametrize(("held", "added"), [(2**64 - 2, 1), (2**64 - 3, 5)])
def test_an_eventfd_without_room(ticker: Any, eventfd: int, held: int, added: int) -> None:
    """The second one is writable, and yet a write of 5 has to wait."""
    os.eventfd_write(eventfd, held)
    taken: list[int] = []
    with ticker().at(3, lambda: taken.append(os.eventfd_read(eventfd))):
        os.eventfd_write(eventfd, added)
    assert taken == [held]
    assert os.eventfd_read(eventfd) == added


@needs_eventfd
def test_a_semaphore_of_an_eventfd(patched: None) -> None:
    fd = os.eventfd(0, os.EFD_SEMAPHORE)
    waiting = [in_thread(lambda: os.eventfd_read(fd)) for _ in range(5)]
    let_others_park()
    os.eventfd_write(fd, 5)
    assert [each() for each in waiting] == [1] * 5
    os.close(fd)


# -- as in stock ---------------------------------------------------------------------------------


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


def test_errors(patched: None, pipe: Ends) -> None:
    reader, writer = pipe.reader, pipe.writer
    arguments: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (os.read, (999, 1)),
        (os.read, (reader, -1)),
        (os.read, (reader, 0)),
        (os.read, (reader, 1 << 80)),
        (os.read, (1 << 40, 1)),
        (os.read, ("0", 1)),
        (os.read, (reader, 1.0)),
        (os.read, (writer, 1)),
        (os.write, (999, b"x")),
        (os.write, (999, b"")),
        (os.write, (reader, b"x")),
        (os.write, (writer, "x")),
        (os.write, (writer, None)),
        (os.write, (writer, memoryview(b"abcd")[::2])),
        (os.write, (writer, b"")),
        (os.readv, (reader, [b"x"])),
        (os.readv, (reader, 5)),
        (os.readv, (999, [bytearray(1)])),
        (os.writev, (writer, ["x"])),
        (os.writev, (writer, 5)),
        (os.writev, (999, [b"x"])),
        (os.writev, (writer, [])),
        (os.close, (999,)),
        (os.close, ("x",)),
        (os.dup2, (999, 998)),
        (os.closerange, (5, "x")),
    ]
    if hasattr(os, "eventfd"):
        arguments += [
            (os.eventfd_read, (999,)),
            (os.eventfd_write, (999, 1)),
            (os.eventfd_write, (writer, -1)),
            (os.eventfd_write, (writer, 1 << 64)),
            (os.eventfd_write, (writer, "x")),
            (os.eventfd_write, ("x", 1)),
            (os.eventfd_read, (None,)),
        ]
    if sys.platform == "linux":
        arguments += [
            (os.sendfile, (999, reader, 0, 1)),
            (os.sendfile, (writer, 999, 0, 1)),
            (os.sendfile, (writer, reader, 0, 1)),
            (os.splice, (999, writer, 1)),
            (os.preadv, (reader, [bytearray(1)], 0)),
        ]
    ours = [outcome(partial(call, *args)) for call, args in arguments]
    capriccio_patch.unpatch_all()
    stock = [outcome(partial(call, *args)) for call, args in arguments]
    capriccio_patch.patch_all()
    for (call, args), one, other in zip(arguments, ours, stock, strict=True):
        assert one == other, (call, args)


def test_files_are_read_and_written_as_ever(patched: None) -> None:
    with tempfile.TemporaryFile() as file:
        fd = file.fileno()
        assert os.write(fd, BIG) == len(BIG)
        assert os.writev(fd, [b"ab", b"c"]) == 3
        assert os.lseek(fd, 0, os.SEEK_CUR) == len(BIG) + 3
        os.lseek(fd, 0, os.SEEK_SET)
        assert os.read(fd, 1 << 24) == BIG + b"abc"
        assert os.read(fd, 10) == b""
        os.lseek(fd, -3, os.SEEK_END)
        buffers = [bytearray(2), bytearray(2)]
        assert os.readv(fd, buffers) == 3
        assert buffers == [b"ab", b"c\0"]


def test_signals_interrupt_a_read(run_script: Any) -> None:
    """A handler that returns does not end the wait, one that raises does (PEP 475)."""
    done = run_script(
        """
        import os, signal, threading
        import capriccio_patch

        capriccio_patch.patch_all()
        reader, writer = os.pipe()
        calls = []

        def handler(number, frame):
            calls.append(number)
            if len(calls) == 1:
                threading.Thread(target=os.kill, args=(os.getpid(), number)).start()
            elif len(calls) == 2:
                os.write(writer, b"x")
            else:
                raise InterruptedError("enough")

        signal.signal(signal.SIGUSR1, handler)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        print(os.read(reader, 1), len(calls))
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        try:
            os.read(reader, 1)
        except InterruptedError as error:
            print(error)
        """
    )
    assert done.stdout == "b'x' 2\nenough\n"


def test_a_forked_child_reads_and_writes(run_script: Any) -> None:
    done = run_script(
        """
        import os, threading
        import capriccio_patch

        capriccio_patch.patch_all()
        reader, writer = os.pipe()
        waiting = threading.Thread(target=os.read, args=(reader, 1))
        waiting.start()
        pid = os.fork()
        if not pid:
            threading.Timer(0.01, os.write, (writer, b"ab")).start()
            print(os.read(reader, 1))
            os._exit(0) if os.write(1, b"child\\n") else None
        assert os.waitpid(pid, 0)[1] == 0
        waiting.join()
        print("parent")
        """
    )
    assert done.stdout == "child\nparent\n"


def test_os_threads_of_the_program_block_as_ever(patched: None, pipe: Ends) -> None:
    found: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        found.append(os.read(pipe.reader, 10))
        done.set()

    capriccio_patch.original("_thread.start_new_thread")(read, ())
    time.sleep(0.01)
    os.write(pipe.writer, b"x")
    assert done.wait(10)
    assert found == [b"x"]


def test_a_process_that_is_killed_leaves_its_terminal_blocking() -> None:
    """Its O_NONBLOCK would be everybody's who has that terminal."""
    master, slave = pty.openpty()
    pid = os.posix_spawn(
        sys.executable,
        [
            sys.executable,
            "-c",
            "import capriccio_patch as c, os; c.patch_all(); os.write(1, b'ready'); os.read(0, 1)",
        ],
        os.environ | {"PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_DUP2, slave, fd) for fd in (0, 1, 2)],
    )
    assert os.read(master, 100) == b"ready"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert os.get_blocking(slave)
    assert os.get_blocking(master)
    os.close(master)
    os.close(slave)
