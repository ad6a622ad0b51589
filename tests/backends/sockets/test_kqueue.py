"""kqueue: what its scheme does with it, on a fake where there is none, and a system that has it."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from capriccio_patch.backends.sockets import create_backend
from capriccio_patch.backends.sockets.kqueue import ImmediateKqueueBackend, KqueueBackend
from capriccio_patch.contracts.descriptor import HUP, PRI, RDHUP, READ, WRITE, Descriptor
from tests.conftest import forks, with_scheme
from tests.fakes import kqueue as fake

READING = fake.READ
ONCE = fake.ADD | fake.ONESHOT


@pytest.fixture
def backend(fake_kqueue: Any) -> Iterator[KqueueBackend]:
    """The scheme."""
    made = create_backend("kqueue")
    assert isinstance(made, KqueueBackend)
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


class Counted:
    """How often a queue was called, and with which changes."""

    def __init__(self, backend: KqueueBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[Any]] = []
        original = backend._control

        def control(changes: Any, maxevents: int, timeout: Any = None) -> Any:
            self.calls.append(list(changes or ()))
            return original(changes, maxevents, timeout)

        monkeypatch.setattr(backend, "_control", control)


def test_changes_are_handed_over_by_the_call_that_waits(
    backend: KqueueBackend,
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = pair
    other.send(b"x")
    counted = Counted(backend, monkeypatch)
    for _ in range(3):
        backend.add_request(Descriptor(one.fileno(), owned=True), READ)
    backend.add_request(Descriptor(other.fileno(), owned=True), READ | WRITE)
    assert counted.calls == []
    assert dict(backend.poll(0)) == {one.fileno(): READ, other.fileno(): WRITE}
    assert [(change.ident, change.filter) for change in counted.calls[0]] == [
        (one.fileno(), READING),
        (other.fileno(), READING),
        (other.fileno(), fake.WRITE),
    ]
    assert backend.poll(0) == []
    assert counted.calls[1:] == [[]]


def test_changes_are_not_lost_when_a_signal_handler_raises(
    backend: KqueueBackend, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair

    def handler(*_: Any) -> None:
        raise KeyError("by the handler")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        backend.add_request(Descriptor(one.fileno(), owned=True), READ)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyError, match="by the handler"):
            backend.poll(10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    other.send(b"x")
    assert backend.poll(10) == [(one.fileno(), READ)]


def test_more_requests_than_events_fit(backend: KqueueBackend) -> None:
    """A change that fails needs room to be reported."""
    numbers = range(5000, 5700)
    for number in numbers:
        backend.add_request(Descriptor(number, owned=True), READ)  # none is open
    assert {fd for fd, _ in backend.poll(10)} == set(numbers)


def test_the_end_of_a_stream(
    backend: KqueueBackend, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    other.close()
    backend.add_request(Descriptor(one.fileno(), owned=True), READ | WRITE)
    [(_, events)] = backend.poll(10)
    assert events == READ | WRITE | RDHUP | HUP


def test_who_waits_for_the_end_is_not_woken_by_data(
    backend: KqueueBackend, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    other.send(b"x")
    backend.add_request(Descriptor(one.fileno()), HUP)
    assert backend.poll(0.01) == []
    other.close()
    [(_, events)] = backend.poll(10)
    assert events & RDHUP


def test_files_on_a_disk_are_always_ready(backend: KqueueBackend) -> None:
    with tempfile.TemporaryFile() as file:
        assert backend.add_request(Descriptor(file.fileno()), READ | WRITE) == READ | WRITE


@pytest.mark.parametrize("immediate", [False, True])
def test_what_a_kqueue_refuses_is_waited_for_elsewhere(
    fake_kqueue: Any, monkeypatch: pytest.MonkeyPatch, immediate: bool
) -> None:
    """As macOS refuses terminals."""
    if fake_kqueue is not fake.kqueue:
        pytest.skip("this kqueue can't be told what to refuse")
    master, terminal = os.openpty()
    apply = fake.kqueue._apply

    def refusing(self: Any, change: Any) -> int:
        return errno.EINVAL if change.ident == terminal else apply(self, change)

    monkeypatch.setattr(fake.kqueue, "_apply", refusing)
    backend = ImmediateKqueueBackend() if immediate else KqueueBackend()
    backend.init()
    try:
        for _ in range(2):
            backend.add_request(Descriptor(terminal), READ)
            assert backend.poll(0.02) == []
            os.write(master, b"x\n")
            deadline = time.monotonic() + 10
            while (terminal, READ) not in backend.poll(1):
                assert time.monotonic() < deadline
            os.read(terminal, 10)
    finally:
        backend.close()
        os.close(master)
        os.close(terminal)


def test_urgent_data_that_nobody_waits_for_any_longer(
    backend: KqueueBackend, pair: tuple[socket.socket, socket.socket]
) -> None:
    """The OS thread that waits ends."""
    d = Descriptor(pair[0].fileno())
    backend.add_request(d, PRI)
    backend.forget(d)
    assert backend._aside == {}
    assert backend.poll(0) == []


@forks
def test_the_queue_of_the_parent_is_left_alone(fake_kqueue: Any) -> None:
    """A child has not inherited it: what has its number is another's."""
    backend = KqueueBackend()
    backend.init()
    number = backend._kqueue.fileno()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            reader, writer = os.pipe()
            if number in (reader, writer):
                backend.close()
                del backend
                os.write(writer, b"x")
                status = os.read(reader, 1) != b"x"
        finally:
            os._exit(status)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        backend.close()


# -- the fake ------------------------------------------------------------------------------------


@pytest.fixture
def queue() -> Iterator[fake.kqueue]:
    """A queue."""
    made = fake.kqueue()
    yield made
    made.close()


needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the fake is made of epoll")


@needs_epoll
@pytest.mark.parametrize(
    ("flags", "answers"), [(fake.ADD, 3), (fake.ADD | fake.ONESHOT, 1), (fake.ADD | fake.CLEAR, 1)]
)
def test_how_often_a_state_is_told(
    queue: fake.kqueue, pair: tuple[socket.socket, socket.socket], flags: int, answers: int
) -> None:
    one, other = pair
    other.send(b"abc")
    found = queue.control([fake.kevent(one, READING, flags)], 10, 0)
    assert [(e.ident, e.filter, e.data) for e in found] == [(one.fileno(), READING, 3)]
    for told in range(1, 3):
        assert bool(queue.control(None, 10, 0)) is (answers > told)
    other.send(b"d")  # a change, and a state that still holds
    expected = [] if flags & fake.ONESHOT else [4]
    assert [e.data for e in queue.control(None, 10, 0)] == expected


@needs_epoll
def test_enabled_disabled_deleted(
    queue: fake.kqueue, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    other.send(b"x")

    def told(flags: int) -> list[int]:
        return [e.data for e in queue.control([fake.kevent(one, READING, flags)], 10, 0)]

    assert told(fake.ADD) == [1]
    assert told(fake.DISABLE) == []
    assert told(fake.ADD) == []
    assert told(fake.ENABLE) == [1]
    assert told(fake.DELETE) == []
    [refused] = queue.control([fake.kevent(one, READING, fake.DELETE)], 10, 5)
    assert (refused.flags, refused.data) == (fake.ERROR, errno.ENOENT)


@needs_epoll
def test_changes_that_fail(queue: fake.kqueue, pair: tuple[socket.socket, socket.socket]) -> None:
    good = fake.kevent(pair[0], fake.WRITE, ONCE)
    bad = fake.kevent(5000, READING, ONCE)
    unknown = fake.kevent(pair[0], -20, ONCE)
    found = queue.control([bad, unknown, good], 10, 5)
    assert [e.data for e in found] == [errno.EBADF, errno.EINVAL]
    assert [e.filter for e in queue.control(None, 10, 0)] == [fake.WRITE]
    with pytest.raises(OSError, match="Bad file descriptor"):
        queue.control([bad, good], 0, 5)
    assert queue.control(None, 10, 0) == []


@needs_epoll
def test_a_close_ends_a_registration_though_others_hold_the_file(
    queue: fake.kqueue, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    copy = os.dup(one.fileno())
    queue.control([fake.kevent(copy)], 0)
    os.close(copy)
    other.send(b"x")
    assert queue.control(None, 10, 0.01) == []


@needs_epoll
def test_arguments_are_refused_as_by_the_real_one(queue: fake.kqueue) -> None:
    with pytest.raises(ValueError, match="Length of eventlist must be 0 or positive, got -1"):
        queue.control(None, -1)
    with pytest.raises(ValueError, match="timeout must be positive or None"):
        queue.control(None, 1, -1)
    with pytest.raises(TypeError, match="timeout argument must be a number or None, got 'str'"):
        queue.control(None, 1, "1")
    with pytest.raises(TypeError, match=r"must be an iterable of select\.kevent objects"):
        queue.control([object()], 1)  # type: ignore[list-item]
    queue.close()
    with pytest.raises(ValueError, match="I/O operation on closed kqueue object"):
        queue.control(None, 1, 0)


@needs_epoll
def test_it_waits(queue: fake.kqueue, pair: tuple[socket.socket, socket.socket]) -> None:
    """For its time, to the microsecond, and for events; through signals, whose handlers run."""
    one, other = pair
    queue.control([fake.kevent(one, READING, ONCE)], 0)
    ran: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: ran.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        start = time.monotonic()
        assert queue.control(None, 10, 0.0655) == []
        assert time.monotonic() - start >= 0.0655
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ran
    thread = threading.Thread(target=other.send, args=(b"x",))
    thread.start()
    assert [e.ident for e in queue.control(None, 10)] == [one.fileno()]
    thread.join()


# -- a system that has it ------------------------------------------------------------------------

PROGRAM = """
    import asyncio, os, select, selectors, signal, socket, subprocess, sys, threading, time
    from concurrent.futures import ThreadPoolExecutor
    import capriccio_patch

    for module, name in ((select, "epoll"), (os, "pidfd_open"), (os, "eventfd"), (os, "splice")):
        assert not hasattr(module, name), name
    capriccio_patch.patch_all()
    status = capriccio_patch.status()
    assert status["sockio"] == "kqueue", status
    assert not status["failed"], status

    def echo(connection):
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    def serve(listener):
        for _ in range(50):
            threading.Thread(target=echo, args=(listener.accept()[0],)).start()

    def ask(number):
        with socket.create_connection(listener.getsockname(), timeout=20) as connection:
            for turn in range(5):
                text = b"%d %d" % (number, turn)
                connection.sendall(text)
                assert connection.recv(100) == text
        return number

    ticks = 0
    def tick():
        global ticks
        while ticks >= 0:
            ticks += 1
            time.sleep(0.001)

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener,)).start()
    with ThreadPoolExecutor(50) as pool:
        assert sorted(pool.map(ask, range(50))) == list(range(50))

    def lets_others_run(call):
        before = ticks
        result = call()
        assert ticks >= before + 3, (call, ticks - before)
        return result

    sleeping = [sys.executable, "-S", "-c", "import time; time.sleep(0.05); print('out')"]
    done = lets_others_run(lambda: subprocess.run(sleeping, capture_output=True, text=True))
    assert done.stdout == "out\\n", done
    child = subprocess.Popen(sleeping[:-1] + ["import time; time.sleep(30)"])
    try:
        child.wait(0.02)
    except subprocess.TimeoutExpired:
        child.kill()
    assert child.wait() == -signal.SIGKILL
    lets_others_run(lambda: os.system("sleep 0.05"))

    reader, writer = os.pipe()
    threading.Timer(0.02, os.write, (writer, b"x")).start()
    assert lets_others_run(lambda: select.select([reader], [], [], 10))[0] == [reader]
    with selectors.DefaultSelector() as selector:
        assert type(selector).__name__ == "KqueueSelector"
        selector.register(reader, selectors.EVENT_READ)
        assert selector.select(10)
        os.read(reader, 1)
        threading.Timer(0.02, os.write, (writer, b"x")).start()
        assert lets_others_run(lambda: selector.select(10))
        assert lets_others_run(lambda: selector.unregister(reader) and selector.select(0.02)) == []

    async def main():
        process = await asyncio.create_subprocess_exec(*sleeping, stdout=-1)
        out, _ = await process.communicate()
        return out
    assert lets_others_run(lambda: asyncio.run(main())) == b"out\\n"

    signal.signal(signal.SIGALRM, lambda *_: os.write(writer, b"y"))
    os.read(reader, 1)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    assert lets_others_run(lambda: os.read(reader, 1)) == b"y"
    with open(__file__) as file:
        assert "KqueueSelector" in file.read()
    pid = os.fork()
    if not pid:
        thread = threading.Thread(target=time.sleep, args=(0.1,))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(2) as pool:
            assert [*pool.map(len, ["a", "bc"])] == [1, 2]
        os._exit(7)
    assert os.waitstatus_to_exitcode(lets_others_run(lambda: os.waitpid(pid, 0))[1]) == 7
    ticks = -1 << 30
    ticker.join()
    capriccio_patch.unpatch_all()
    print("done")
"""


def test_a_program_on_a_system_with_a_kqueue_and_without_what_linux_has(run_script: Any) -> None:
    """Threads, sockets, subprocesses, sleeps, selectors, asyncio, signals, files and forks."""
    environ = with_scheme("kqueue")
    del environ["CAPRICCIO_SOCKIO"]  # `auto` chooses it
    done = run_script(PROGRAM, env=environ)
    assert done.stdout == "done\n", done.stderr
