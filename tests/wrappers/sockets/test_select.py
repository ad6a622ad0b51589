"""``select``, ``poll`` and ``epoll``: waits that let others run, results and errors as in stock."""

from __future__ import annotations

import math
import os
import select
import selectors
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

import capriccio_patch
from tests.conftest import let_others_park

AVAILABLE = [n for n, reason in capriccio_patch.available_backends().items() if reason is None]
needs_poll = pytest.mark.skipif(not hasattr(select, "poll"), reason="no poll")
needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll")


@pytest.fixture(params=AVAILABLE)
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test over every scheme that runs here; it comes before the patch."""
    monkeypatch.setenv("CAPRICCIO_SOCKIO", request.param)


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


def poll_wait(fd: int, timeout: float | None) -> Any:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return poller.poll(None if timeout is None else timeout * 1000)


def epoll_wait(fd: int, timeout: float | None) -> Any:
    with select.epoll() as poller:
        poller.register(fd, select.EPOLLIN)
        return poller.poll(timeout)


def selector_wait(fd: int, timeout: float | None) -> Any:
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return [(key.fd, events) for key, events in selector.select(timeout)]


def select_wait(fd: int, timeout: float | None) -> Any:
    return [(each, 1) for each in select.select([fd], [], [], timeout)[0]]


WAITS = [
    pytest.param(select_wait, id="select"),
    pytest.param(poll_wait, id="poll", marks=needs_poll),
    pytest.param(epoll_wait, id="epoll", marks=needs_epoll),
    pytest.param(selector_wait, id="selectors"),
]
Wait = Callable[[int, float | None], Any]


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("timeout", [None, 30.5])
def test_a_wait_lets_others_run(
    scheme: None, ticker: Any, pipe: tuple[int, int], wait: Wait, timeout: float | None
) -> None:
    reader, writer = pipe
    with ticker().at(3, lambda: os.write(writer, b"x")):
        assert wait(reader, timeout) == [(reader, 1)]


@pytest.mark.parametrize("wait", WAITS)
def test_a_timeout(scheme: None, ticker: Any, pipe: tuple[int, int], wait: Wait) -> None:
    with ticker() as ticks:
        start = time.monotonic()
        assert wait(pipe[0], 0.05) == []
        assert time.monotonic() - start >= 0.05
        assert ticks.ticks > 1


@pytest.mark.parametrize("wait", WAITS)
def test_what_is_ready_is_told_at_once(patched: None, pipe: tuple[int, int], wait: Wait) -> None:
    os.write(pipe[1], b"x")
    for timeout in (0, None, 10):
        assert wait(pipe[0], timeout) == [(pipe[0], 1)]


@pytest.mark.parametrize("wait", WAITS)
def test_a_program_that_polls_in_a_loop_lets_others_run(
    ticker: Any, pipe: tuple[int, int], wait: Wait
) -> None:
    with ticker().at(2, lambda: os.write(pipe[1], b"x")):
        while not wait(pipe[0], 0):
            pass


@pytest.mark.parametrize("wait", WAITS)
def test_many_threads_wait_for_one_descriptor(
    scheme: None, patched: None, pipe: tuple[int, int], wait: Wait
) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(wait(pipe[0], 30))) for _ in range(20)]
    for thread in threads:
        thread.start()
    let_others_park()
    os.write(pipe[1], b"x")
    for thread in threads:
        thread.join(10)
    assert found == [[(pipe[0], 1)]] * 20


def test_select_returns_the_objects_it_was_given(ticker: Any) -> None:
    one, other = socket.socketpair()
    with one, other, ticker().at(2, lambda: other.send(b"x")):
        assert select.select([one], [], [one]) == ([one], [], [])
        assert select.select([one.fileno(), one], [one, other], []) == (
            [one.fileno(), one],
            [one, other],
            [],
        )


def test_select_of_an_iterator_that_can_be_read_once(ticker: Any, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with ticker().at(2, lambda: os.write(writer, b"x")):
        assert select.select(iter([reader]), (x for x in ()), {}, 30) == ([reader], [], [])


def test_select_of_nothing_sleeps(ticker: Any) -> None:
    with ticker() as ticks:
        before = ticks.ticks
        assert select.select([], [], [], 0.02) == ([], [], [])
        assert ticks.ticks > before
    lists = select.select([], [], [], 0.001)
    assert len({id(each) for each in lists}) == 3


def test_select_of_a_regular_file(patched: None) -> None:
    with tempfile.TemporaryFile() as file:
        assert select.select([file], [file], [], 30) == ([file], [file], [])


def test_select_of_urgent_data(scheme: None, ticker: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    with one, other, ticker().at(2, lambda: other.send(b"!", socket.MSG_OOB)):
        assert select.select([], [], [one], 30) == ([], [], [one])


def test_a_hang_up_that_select_does_not_count_costs_no_cpu(scheme: None, ticker: Any) -> None:
    one, other = socket.socketpair()
    with one, ticker().at(2, other.close):
        cpu = time.thread_time()
        assert select.select([], [], [one], 0.2) == ([], [], [])
        assert time.thread_time() - cpu < 0.15


def test_select_closed_meanwhile(scheme: None, ticker: Any, pipe: tuple[int, int]) -> None:
    with ticker().at(2, lambda: os.close(pipe[0])), pytest.raises(OSError, match="Bad file"):
        select.select([pipe[0]], [], [], 30)


@needs_poll
def test_poll_closed_meanwhile(scheme: None, ticker: Any, pipe: tuple[int, int]) -> None:
    with ticker().at(2, lambda: os.close(pipe[0])):
        assert poll_wait(pipe[0], 30) == [(pipe[0], select.POLLNVAL)]


@needs_poll
def test_poll_closed_meanwhile_and_the_number_used_again(
    scheme: None, ticker: Any, pipe: tuple[int, int]
) -> None:
    def close_and_open() -> None:
        os.close(pipe[0])
        assert os.open(os.devnull, os.O_RDONLY) == pipe[0]

    with ticker().at(2, close_and_open):
        assert poll_wait(pipe[0], 30) == [(pipe[0], select.POLLNVAL)]


@needs_epoll
def test_epoll_closed_meanwhile(ticker: Any, pipe: tuple[int, int]) -> None:
    poller = select.epoll()
    with ticker().at(2, poller.close), pytest.raises(ValueError, match="closed epoll"):
        poller.poll(30)


@needs_poll
def test_poll_on_two_threads(patched: None, pipe: tuple[int, int]) -> None:
    poller = select.poll()
    poller.register(pipe[0], select.POLLIN)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(poller.poll()))
    thread.start()
    let_others_park()
    for timeout in (None, 0):
        with pytest.raises(RuntimeError, match="concurrent poll"):
            poller.poll(timeout)
    # What is registered meanwhile does not concern the call that waits.
    poller.unregister(pipe[0])
    poller.register(pipe[1], select.POLLOUT)
    os.write(pipe[1], b"x")
    thread.join(10)
    assert found == [[(pipe[0], select.POLLIN)]]
    assert poller.poll(0) == [(pipe[1], select.POLLOUT)]


@needs_poll
@pytest.mark.parametrize("timeout", [-1, -1000, -0.1, -1e-100])
def test_a_negative_timeout_of_poll_is_none(
    ticker: Any, pipe: tuple[int, int], timeout: float
) -> None:
    poller = select.poll()
    poller.register(pipe[0], select.POLLIN)
    with ticker().at(3, lambda: os.write(pipe[1], b"x")):
        assert poller.poll(timeout) == [(pipe[0], select.POLLIN)]


@needs_epoll
def test_what_is_registered_with_an_epoll_that_is_waited_for(
    ticker: Any, pipe: tuple[int, int]
) -> None:
    os.write(pipe[1], b"x")
    with select.epoll() as poller, ticker().at(3, lambda: poller.register(pipe[0])):
        assert poller.poll() == [(pipe[0], select.EPOLLIN)]


@needs_epoll
def test_a_tiny_negative_timeout_of_epoll_is_zero(patched: None) -> None:
    with select.epoll() as poller:
        assert poller.poll(-0.0001) == []


@needs_epoll
def test_keywords_and_limits_of_epoll(patched: None, pipe: tuple[int, int]) -> None:
    copy = os.dup(pipe[0])
    os.write(pipe[1], b"x")
    with select.epoll() as poller:
        poller.register(pipe[0])
        poller.register(copy)
        assert len(poller.poll(timeout=1, maxevents=1)) == 1
        assert len(poller.poll(maxevents=5)) == 2
    os.close(copy)


@needs_epoll
def test_an_edge_is_told_once(ticker: Any, pipe: tuple[int, int]) -> None:
    with select.epoll() as poller:
        poller.register(pipe[0], select.EPOLLIN | select.EPOLLET)
        with ticker().at(2, lambda: os.write(pipe[1], b"x")):
            assert poller.poll(30) == [(pipe[0], select.EPOLLIN)]
        assert poller.poll(0.01) == []


BAD_TIMEOUTS: list[Any] = [
    "1",
    Decimal(1),
    math.nan,
    math.inf,
    -math.inf,
    1 << 64,
    -(1 << 64),
    1e30,
    1e10,
    -1e10,
    object(),
]
CALLS: list[Any] = [
    pytest.param(lambda t: select.select([], [], [], t), id="select"),
    pytest.param(lambda t: select.poll().poll(t), id="poll", marks=needs_poll),
    pytest.param(lambda t: select.epoll().poll(t), id="epoll", marks=needs_epoll),
]


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


def as_in_stock(calls: list[Callable[[], Any]]) -> None:
    """The outcomes of `calls` are those without the patch, which is in force now."""
    ours = [outcome(call) for call in calls]
    capriccio_patch.unpatch_all()
    try:
        assert ours == [outcome(call) for call in calls]
    finally:
        capriccio_patch.patch_all()


@pytest.mark.parametrize("call", CALLS)
def test_errors_of_timeouts(patched: None, call: Callable[[Any], Any]) -> None:
    as_in_stock([lambda bad=bad: _unless_it_waits(call, bad) for bad in BAD_TIMEOUTS])


class Waits(Exception):
    """It does not return at once."""


def _unless_it_waits(call: Callable[[Any], Any], timeout: Any) -> Any:
    """From CPython 3.15 poll() waits for as long as 1e10 ms, and for ever with less than none."""

    def handler(*_: object) -> None:
        raise Waits

    before = signal.signal(signal.SIGALRM, handler)
    was_left, _ = signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        return call(timeout)
    finally:
        signal.setitimer(signal.ITIMER_REAL, was_left)
        signal.signal(signal.SIGALRM, before)


@needs_poll
@needs_epoll
def test_errors_of_arguments(patched: None) -> None:
    class Almost:
        def fileno(self) -> str:
            return "fileno"

    closed = select.epoll()
    closed_fd = closed.fileno()
    closed.close()
    as_in_stock(
        [
            lambda: select.select(1, 2, 3),  # type: ignore[call-overload]
            lambda: select.select([object()], [], []),
            lambda: select.select([Almost()], [], []),
            lambda: select.select([-1], [], []),
            lambda: select.select([1 << 20], [], []),
            lambda: select.select([1 << 40], [], []),
            lambda: select.select([closed_fd], [], [], 1),
            lambda: select.select([], [], [], -1),
            lambda: select.poll().poll(1 << 63),
            lambda: select.epoll().poll(1 << 22),
            lambda: select.epoll().poll(1, 0),
            lambda: select.epoll().poll(1, "x"),
            closed.poll,
            closed.close,
        ]
    )


def test_a_list_that_changes_while_it_is_read(patched: None, pipe: tuple[int, int]) -> None:
    class Shrinking:
        def fileno(self) -> int:
            del objects[-1]
            return pipe[1]

    objects: list[Any] = []
    objects[:] = [Shrinking() for _ in range(10)]
    assert select.select([], objects, []) == ([], objects[:5], [])


def test_objects_and_bound_methods_from_before_the_patch(
    pipe: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    early_select = select.select
    waits: list[Callable[[], Any]] = [lambda: early_select([pipe[0]], [], [], 30)]
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(pipe[0])
        waits.append(poller.poll)
    if hasattr(select, "epoll"):
        poller_too = select.epoll()
        poller_too.register(pipe[0])
        waits.append(poller_too.poll)
    ticker = request.getfixturevalue("ticker")
    for wait in waits:
        with ticker().at(3, lambda: os.write(pipe[1], b"x")):
            assert wait()
        os.read(pipe[0], 1)


def test_other_os_threads_wait_as_ever(patched: None, pipe: tuple[int, int]) -> None:
    """Their waits are the original's: nothing of the kernel is touched."""
    found: list[Any] = []
    start = capriccio_patch.original("_thread.start_new_thread")
    done = threading.Event()

    def wait() -> None:
        found.append(select_wait(pipe[0], 30))
        if hasattr(select, "poll"):
            found.append(poll_wait(pipe[0], 30))
        if hasattr(select, "epoll"):
            found.append(epoll_wait(pipe[0], 30))
        done.set()

    start(wait, ())
    time.sleep(0.01)
    os.write(pipe[1], b"x")
    assert done.wait(10)
    assert all(each == [(pipe[0], 1)] for each in found)
