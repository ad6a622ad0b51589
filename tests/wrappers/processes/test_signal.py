"""``signal``: what a program sets and asks."""

from __future__ import annotations

import _signal
import os
import signal
import threading
import time
from typing import Any

import pytest

import capriccio_patch
from tests.conftest import wait_until
from tests.signals.conftest import USR1, USR2, Stop, os_thread, send, stop

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals"),
    pytest.mark.usefixtures("signal_dispositions"),
]


# -- what the program sets ------------------------------------------------------------------------


def test_handlers_are_reported_as_they_were_set() -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(USR2, stop)
    capriccio_patch.patch_all()
    try:
        assert signal.getsignal(signal.SIGINT) is before
        assert signal.getsignal(USR2) is stop
        assert signal.signal(USR1, stop) == signal.SIG_DFL
        assert signal.signal(USR1, signal.SIG_IGN) is stop
        assert signal.signal(USR1, signal.default_int_handler) == signal.SIG_IGN
        assert signal.getsignal(USR1) is signal.default_int_handler
        with pytest.raises(Stop):
            send(USR2)
        if hasattr(signal, "SIGRTMAX"):
            assert signal.getsignal(signal.SIGRTMAX) == signal.SIG_DFL
    finally:
        capriccio_patch.unpatch_all()
    assert _signal.getsignal(signal.SIGINT) is before
    assert _signal.getsignal(USR2) is stop
    assert _signal.getsignal(USR1) is signal.default_int_handler


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((0, stop), ValueError),
        ((USR1, "x"), TypeError),
        (("x", stop), TypeError),
        ((9, stop), OSError),
    ],
)
def test_bad_arguments_are_refused_as_in_stock(patched: None, args: Any, error: Any) -> None:
    with pytest.raises(error) as stock:
        capriccio_patch.original("_signal.signal")(*args)
    with pytest.raises(error) as ours:
        _signal.signal(*args)
    assert str(ours.value) == str(stock.value)
    assert signal.getsignal(USR1) == signal.SIG_DFL


def test_only_the_main_thread_sets_handlers(patched: None) -> None:
    errors: list[str] = []

    def try_both() -> None:
        for call in (lambda: signal.signal(USR1, stop), lambda: signal.set_wakeup_fd(-1)):
            try:
                call()
            except ValueError as error:
                errors.append(str(error))

    for start in (lambda: threading.Thread(target=try_both).start(), lambda: os_thread(try_both)):
        errors.clear()
        start()
        while len(errors) < 2:
            time.sleep(0.001)
        assert errors == [
            "signal only works in main thread of the main interpreter",
            "set_wakeup_fd only works in main thread of the main interpreter",
        ]


def test_siginterrupt_off_lets_a_read_finish_first(ticker: Any) -> None:
    reader, writer = os.pipe()
    order: list[str] = []
    raises = False

    def handler(signum: int, frame: Any) -> None:
        order.append("handler")
        if raises:
            raise Stop

    signal.signal(USR1, handler)
    signal.siginterrupt(USR1, False)
    with ticker().at(3, send).at(6, lambda: (order.append("write"), os.write(writer, b"1"))):
        assert os.read(reader, 1) == b"1"
    assert order == ["write", "handler"]
    # A sleep is never restarted, nor is a read after signal() has been called again.
    raises = True
    with ticker().at(3, send), pytest.raises(Stop):
        time.sleep(60)
    signal.signal(USR1, stop)
    with ticker().at(3, send), pytest.raises(Stop):
        os.read(reader, 1)


# -- identifiers ----------------------------------------------------------------------------------


def test_the_identifier_of_a_green_thread_never_gets_into_c(patched: None) -> None:
    calls: list[Any] = []
    signal.signal(USR1, lambda signum, frame: calls.append(threading.current_thread()))
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    ident = thread.ident
    assert ident is not None
    signal.pthread_kill(ident, USR1)
    wait_until(lambda: calls)
    assert calls == [threading.main_thread()]
    if hasattr(time, "pthread_getcpuclockid"):
        assert time.clock_gettime(time.pthread_getcpuclockid(ident)) > 0
    event.set()
    thread.join()
    with pytest.raises(ProcessLookupError):
        signal.pthread_kill(ident, 0)
    if hasattr(time, "pthread_getcpuclockid"):
        with pytest.raises(ProcessLookupError):
            time.pthread_getcpuclockid(ident)
