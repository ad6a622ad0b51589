"""One suite for every socket I/O scheme: ``contracts.socket_backend``, point by point."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from capriccio_patch import BackendUnavailable
from capriccio_patch.backends.sockets import available_backends, create_backend
from capriccio_patch.contracts.descriptor import ERR, HUP, NVAL, PRI, RDHUP, READ, WRITE, Descriptor
from capriccio_patch.contracts.socket_backend import Backend
from capriccio_patch.io.reserved import RESERVED

AVAILABLE = [name for name, reason in available_backends().items() if reason is None]
SCHEMES = [*AVAILABLE, *(name for name in ["kqueue"] if name not in AVAILABLE)]


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    """The name of each scheme that can run here, and kqueue on a fake of it."""
    if request.param not in AVAILABLE:
        request.getfixturevalue(f"fake_{request.param}")
    name: str = request.param
    return name


@pytest.fixture
def backend(scheme: str) -> Iterator[Backend]:
    """Each scheme, initialised."""
    made = create_backend(scheme)
    yield made
    made.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """(reader, writer)"""
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    with one, other:
        yield one, other


def fill(writer: int) -> None:
    """Leave no room in a pipe."""
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(65536))
    except BlockingIOError:
        os.set_blocking(writer, True)


def events_of(backend: Backend, fd: int, timeout: float = 5.0) -> int:
    """The events that one `poll` which reports anything tells of `fd`."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = backend.poll(deadline - time.monotonic())
        for number, events in found:
            if number == fd:
                return events
    return 0


def is_silent(backend: Backend) -> bool:
    """Whether there is nothing to report.  What was closed may be reported, once."""
    backend.poll(0)
    return not backend.poll(0)


def test_a_scheme_that_can_run_says_so(backend: Backend) -> None:
    assert type(backend).is_available() is None
    assert backend.name in SCHEMES


@pytest.mark.parametrize("owned", [False, True])
def test_what_holds_already_is_reported(
    backend: Backend, pipe: tuple[int, int], owned: bool
) -> None:
    reader, writer = pipe
    os.write(writer, b"x")
    d = Descriptor(reader, owned=owned)
    assert backend.add_request(d, READ) == 0
    assert d.armed & READ
    assert events_of(backend, reader) & READ


@pytest.mark.parametrize("owned", [False, True])
def test_what_comes_later_is_reported(backend: Backend, pipe: tuple[int, int], owned: bool) -> None:
    reader, writer = pipe
    backend.add_request(Descriptor(reader, owned=owned), READ)
    assert backend.poll(0) == []
    os.write(writer, b"x")
    assert events_of(backend, reader) & READ


@pytest.mark.parametrize("owned", [False, True])
def test_a_request_repeated_is_answered_again(
    backend: Backend, pipe: tuple[int, int], owned: bool
) -> None:
    """Also where nothing changed in between, which an edge alone would not tell."""
    reader, writer = pipe
    os.write(writer, b"x")
    d = Descriptor(reader, owned=owned)
    for _ in range(3):
        backend.add_request(d, READ)
        assert events_of(backend, reader) & READ


def test_a_request_is_spent_with_its_report(backend: Backend, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"x")
    backend.add_request(Descriptor(reader), READ)
    assert events_of(backend, reader) & READ
    assert backend.poll(0) == []


def test_room_to_write_is_reported(backend: Backend, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    fill(writer)
    backend.add_request(Descriptor(writer), WRITE)
    assert backend.poll(0) == []
    os.read(reader, 65536)
    assert events_of(backend, writer) & WRITE


def test_reading_and_writing_are_asked_for_together(
    backend: Backend, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    fd = one.fileno()
    backend.add_request(Descriptor(fd), READ | WRITE)
    assert events_of(backend, fd) & (READ | WRITE) == WRITE
    other.send(b"x")
    backend.add_request(Descriptor(fd), READ)
    assert events_of(backend, fd) & READ


def test_urgent_data_is_reported(
    backend: Backend, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    backend.add_request(Descriptor(one.fileno()), PRI)
    assert backend.poll(0) == []
    other.send(b"!", socket.MSG_OOB)
    assert events_of(backend, one.fileno()) & PRI


def test_a_hang_up_wakes_a_reader(backend: Backend, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    backend.add_request(Descriptor(reader), READ)
    os.close(writer)
    assert events_of(backend, reader) & (READ | HUP)


def test_a_reader_that_is_gone_wakes_a_writer(backend: Backend, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    fill(writer)
    backend.add_request(Descriptor(writer), WRITE)
    os.close(reader)
    assert events_of(backend, writer) & (WRITE | ERR | HUP)


def test_a_regular_file_is_ready_at_once_or_reported(backend: Backend) -> None:
    with tempfile.TemporaryFile() as file:
        fd = file.fileno()
        at_once = backend.add_request(Descriptor(fd), READ)
        assert at_once == READ or events_of(backend, fd) & READ


def test_a_bad_descriptor_is_an_error_or_reported(backend: Backend, pipe: tuple[int, int]) -> None:
    reader, _ = pipe
    os.close(reader)
    try:
        backend.add_request(Descriptor(reader), READ)
    except OSError:
        assert is_silent(backend)
    else:
        assert events_of(backend, reader) & (READ | ERR | NVAL)


def reused(fd: int, make: Callable[[], Any]) -> Any:
    """What `make` returns: an object whose descriptor is `fd`, which is closed for it."""
    os.close(fd)
    made = make()
    fds = made if isinstance(made, tuple) else (made,)
    assert fd in fds
    return made


@pytest.mark.parametrize("waiting", [True, False])
def test_a_number_that_was_closed_in_c_and_reused_is_watched(
    backend: Backend, pipe: tuple[int, int], waiting: bool
) -> None:
    """The scheme was not told of the close, and the record still says "registered"."""
    reader, writer = pipe
    d = Descriptor(reader)
    backend.add_request(d, READ)
    if not waiting:
        os.write(writer, b"x")
        assert events_of(backend, reader) & READ
    new_reader, new_writer = reused(reader, os.pipe)
    try:
        d.fd = new_reader
        backend.add_request(d, READ)
        backend.poll(0)
        os.write(new_writer, b"x")
        backend.add_request(d, READ)
        assert events_of(backend, new_reader) & READ
    finally:
        os.close(new_writer)


def test_a_copy_that_keeps_the_old_file_open_does_no_harm(
    backend: Backend, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    d = Descriptor(reader)
    backend.add_request(d, READ)
    copy = os.dup(reader)
    backend.forget(d)
    new_reader, new_writer = reused(reader, os.pipe)
    try:
        backend.add_request(Descriptor(new_reader), READ)
        os.write(new_writer, b"x")
        assert events_of(backend, new_reader) & READ
        os.write(writer, b"x")  # may be reported, under a number that is another file's
        backend.poll(0)
        assert is_silent(backend)
    finally:
        os.close(copy)
        os.close(new_writer)


def test_what_was_forgotten_is_not_reported(backend: Backend, pipe: tuple[int, int]) -> None:
    reader, _ = pipe
    d = Descriptor(reader)
    backend.add_request(d, READ)
    backend.forget(d)
    os.close(reader)
    assert backend.poll(0) == []


def test_forgetting_what_was_never_asked_for(backend: Backend, pipe: tuple[int, int]) -> None:
    backend.forget(Descriptor(pipe[0]))
    assert backend.poll(0) == []


@pytest.mark.parametrize("owned", [False, True])
def test_a_close_has_its_full_effect(backend: Backend, pipe: tuple[int, int], owned: bool) -> None:
    """A request keeps no file open that was forgotten, or that nobody waits for."""
    reader, writer = pipe
    d = Descriptor(reader, owned=owned)
    backend.add_request(d, READ)
    assert backend.poll(0) == []
    backend.forget(d)
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")


def test_what_nobody_waits_for_is_let_go(backend: Backend, pipe: tuple[int, int]) -> None:
    """Its close need not be seen, as in C."""
    reader, writer = pipe
    d = Descriptor(reader)
    backend.add_request(d, READ)
    assert backend.poll(0) == []
    if backend.holds_files:
        backend.withdraw(d)
        backend.poll(0)
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")


def test_what_was_withdrawn_can_be_asked_for_again(backend: Backend, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    d = Descriptor(reader)
    for _ in range(3):
        backend.add_request(d, READ)
        backend.withdraw(d)
    os.write(writer, b"x")
    backend.add_request(d, READ)
    assert events_of(backend, reader) & READ


def test_a_request_that_is_not_answered_can_be_repeated_for_ever(
    backend: Backend, pipe: tuple[int, int]
) -> None:
    """As select in a loop does it."""
    reader, writer = pipe
    d = Descriptor(reader)
    for number in range(5000):
        backend.add_request(d, READ if number % 2 else READ | PRI)
        if number % 100 == 0:
            assert backend.poll(0) == []
    os.write(writer, b"x")
    assert events_of(backend, reader) & READ


def test_the_end_of_a_stream_alone_can_be_waited_for(
    backend: Backend, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    one.close()
    backend.add_request(Descriptor(other.fileno()), HUP | RDHUP)
    assert events_of(backend, other.fileno()) & (READ | HUP | RDHUP)


def test_many_at_once(backend: Backend) -> None:
    pairs = [os.pipe() for _ in range(100)]
    try:
        for reader, writer in pairs:
            backend.add_request(Descriptor(reader), READ)
            os.write(writer, b"x")
        left = {reader for reader, _ in pairs}
        deadline = time.monotonic() + 5
        while left:
            assert time.monotonic() < deadline
            found = backend.poll(1)
            left.difference_update(fd for fd, events in found if events & READ)
    finally:
        for ends in pairs:
            for fd in ends:
                os.close(fd)


def test_a_poll_ends_with_its_timeout(backend: Backend) -> None:
    start = time.monotonic()
    assert backend.poll(0.05) == []
    assert time.monotonic() - start >= 0.035  # may be early: the kernel looks at the clock again


@pytest.mark.wall_clock
def test_a_short_wait_is_not_rounded_up(backend: Backend, pipe: tuple[int, int]) -> None:
    """To milliseconds, that is.  The best of many, as the machine may be busy."""
    backend.add_request(Descriptor(pipe[0]), READ)
    best = 1.0
    for _ in range(200):
        start = time.perf_counter()
        backend.poll(0.0003)
        took = time.perf_counter() - start
        if took >= 0.0003:  # it may return early
            best = min(best, took)
    assert best < 0.0009


def test_a_short_wait_ends_with_an_event(backend: Backend, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    backend.add_request(Descriptor(reader), READ)
    backend.poll(0.0003)
    os.write(writer, b"x")
    deadline = time.monotonic() + 5
    while reader not in dict(backend.poll(0.0009)):
        assert time.monotonic() < deadline


def test_notify_ends_a_poll_that_waits(backend: Backend) -> None:
    thread = threading.Thread(target=backend.notify)
    thread.start()
    assert [fd for fd, events in backend.poll(None) if events & ~READ] == []
    thread.join()


def test_notify_before_a_poll_ends_it(backend: Backend) -> None:
    for _ in range(100_000):  # more than a pipe holds
        backend.notify()
    backend.poll(None)
    for _ in range(100):
        if not backend.poll(0):
            return
    pytest.fail("the notification is never taken")


def test_a_byte_written_to_what_it_names_notifies(backend: Backend) -> None:
    told: list[int] = []
    fd = backend.notified_by(told.append)
    assert not os.get_blocking(fd)
    os.write(fd, b"x")
    assert [fd for fd, events in backend.poll(None) if events & ~READ] == []
    with socket.socket() as reused:
        RESERVED[fd].move()
        (moved,) = told
        os.dup2(reused.fileno(), fd)
        os.write(moved, b"x")
        backend.poll(None)
        os.close(fd)
    backend.close()
    assert told == [moved, -1]
    backend.init()


def test_closing_gives_every_descriptor_back(scheme: str) -> None:
    before = set(os.listdir("/dev/fd"))
    create_backend(scheme).close()
    assert set(os.listdir("/dev/fd")) == before


def free_numbers(count: int) -> list[int]:
    """The lowest numbers for new descriptors."""
    made = [os.dup(0) for _ in range(count)]
    for fd in made:
        os.close(fd)
    return made


def test_where_no_descriptors_are_left(scheme: str) -> None:
    """It is an error, and what had been opened is closed."""
    before = set(os.listdir("/dev/fd"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    errors: list[str] = []
    for limit in free_numbers(32):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
        try:
            made = create_backend(scheme)
        except (OSError, BackendUnavailable) as error:
            errors.append(str(error))
        else:
            made.close()
            break
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            gc.collect()
            assert set(os.listdir("/dev/fd")) == before
    else:
        pytest.fail("no number of descriptors is enough")
    assert errors
    assert all(os.strerror(errno.EMFILE) in error for error in errors)


def test_after_exec_no_descriptor_is_left(scheme: str) -> None:
    before = set(os.listdir("/dev/fd"))
    made = create_backend(scheme)
    new = {int(fd) for fd in set(os.listdir("/dev/fd")) - before}
    assert not any(is_inherited(fd) for fd in new)
    made.close()


def is_inherited(fd: int) -> bool:
    """Whether a program that is executed gets `fd`; a number that has been closed is not."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")
def test_a_poll_within_a_poll(backend: Backend) -> None:
    """A handler that runs within one may begin a collection, and a finalizer let others run."""
    found: list[list[tuple[int, int]]] = []
    old = signal.signal(signal.SIGALRM, lambda *_: found.append(list(backend.poll(0.001))))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        end = time.monotonic() + 10
        while len(found) < 5 and time.monotonic() < end:
            assert list(backend.poll(0.2)) == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert found[:5] == [[]] * 5
