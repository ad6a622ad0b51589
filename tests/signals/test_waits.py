"""Waiting for signals: sigwait and its family."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import capriccio_patch
from tests.conftest import wait_until
from tests.inside import is_parked
from tests.signals.conftest import USR1, USR2, Stop, send, stop

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals"),
    pytest.mark.usefixtures("signal_dispositions"),
]


def test_pause_returns_after_a_handler(ticker: Any) -> None:
    calls: list[int] = []
    signal.signal(USR1, lambda signum, frame: calls.append(signum))
    with ticker().at(3, send):
        signal.pause()
    assert calls == [USR1]
    signal.signal(USR1, stop)
    with ticker().at(3, send), pytest.raises(Stop):
        signal.pause()


def test_pause_in_another_thread_ends_with_a_signal_to_it(patched: None) -> None:
    calls: list[Any] = []
    signal.signal(USR1, lambda signum, frame: calls.append(threading.current_thread()))
    thread = threading.Thread(target=signal.pause)
    thread.start()
    send()
    while not calls:
        time.sleep(0.001)
    time.sleep(0.01)  # it would end now
    assert calls == [threading.main_thread()]
    assert thread.is_alive()
    signal.pthread_kill(thread.ident, USR1)
    thread.join(60)
    assert not thread.is_alive()
    assert calls == [threading.main_thread()] * 2


needs_sigwait = pytest.mark.skipif(not hasattr(signal, "sigwait"), reason="needs sigwait()")
needs_sigtimedwait = pytest.mark.skipif(
    not hasattr(signal, "sigtimedwait"), reason="needs sigtimedwait()"
)


@pytest.fixture
def blocked(patched: None) -> Iterator[None]:
    """USR1 and USR2 are blocked, and none is left pending."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {USR1, USR2})
    yield
    assert not signal.sigpending() & {USR1, USR2}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {USR1, USR2})


@needs_sigwait
@pytest.mark.parametrize("send_it", [send, signal.raise_signal], ids=["process", "thread"])
@pytest.mark.parametrize("in_main", [True, False])
def test_sigwait_takes_a_blocked_signal(
    blocked: None, ticker: Any, send_it: Any, in_main: bool
) -> None:
    got: list[int] = []

    def wait() -> None:
        got.append(signal.sigwait({USR1, USR2}))

    with ticker().at(3, lambda: send_it(USR1)):
        if in_main:
            wait()
        else:
            thread = threading.Thread(target=wait)
            thread.start()
            thread.join()
    assert got == [USR1]


@needs_sigwait
@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, stop])
def test_sigwait_takes_a_signal_that_is_not_blocked(ticker: Any, handler: Any) -> None:
    signal.signal(USR1, handler)
    with ticker().at(3, send):
        assert signal.sigwait([USR1, signal.SIGKILL]) == USR1
    assert signal.getsignal(USR1) == handler
    if not callable(handler):
        assert capriccio_patch.original("_signal.getsignal")(USR1) == handler


@needs_sigwait
@pytest.mark.one_processor  # two that another OS thread sends may come as one
def test_a_signal_that_nobody_has_waited_for_is_not_swallowed(run_script: Any) -> None:
    run_script(
        """
        import os, signal, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()

        def twice():
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)

        threading.Timer(0.01, twice).start()
        signal.sigwait([signal.SIGTERM])
        time.sleep(60)
        """,
        status=-signal.SIGTERM,
    )


@needs_sigtimedwait
def test_sigtimedwait_and_sigwaitinfo(blocked: None, ticker: Any) -> None:
    begun = time.monotonic()
    assert signal.sigtimedwait({USR1}, 0.05) is None
    assert time.monotonic() - begun >= 0.05
    with ticker().at(5, send):
        assert signal.sigtimedwait({USR1}, 60) is not None
    send()
    assert signal.sigtimedwait({USR1}, 0).si_signo == USR1  # type: ignore[union-attr]
    with ticker().at(3, send):
        info = signal.sigwaitinfo(iter([USR1]))
    assert (info.si_signo, info.si_pid) == (USR1, os.getpid())
    for sigset, timeout, error in (
        ([0], 1, ValueError),
        (5, 1, TypeError),
        ([USR1], -1, ValueError),
    ):
        with pytest.raises(error):
            signal.sigtimedwait(sigset, timeout)  # type: ignore[arg-type]


@needs_sigtimedwait
def test_a_wait_for_signals_that_is_given_up_has_taken_none(patched: None, ticker: Any) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {USR1})
    signal.signal(USR2, stop)
    try:
        with ticker().at(3, lambda: (send(USR2), send(USR1))), pytest.raises(Stop):
            signal.sigwaitinfo({USR1})
        info = signal.sigtimedwait({USR1}, 60)
        assert info is not None
        assert info.si_signo == USR1
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {USR1})


@needs_sigtimedwait
def test_a_wait_of_another_thread_that_is_interrupted_has_taken_none(blocked: None) -> None:
    ended: list[int] = []

    def wait() -> None:
        with pytest.raises(Stop):
            signal.sigwait({USR1})
        ended.append(threading.get_ident())

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        wait_until(lambda thread=thread: is_parked(thread))
        capriccio_patch.interrupt(thread, Stop())
        thread.join()
    send()
    info = signal.sigtimedwait({USR1}, 60)
    assert info is not None
    assert len(ended) == 5


@needs_sigwait
def test_several_threads_share_the_signals(blocked: None) -> None:
    got: list[int] = []
    threads = [
        threading.Thread(target=lambda: got.append(signal.sigwait({USR1}))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for count in range(1, 6):
        send()
        while len(got) < count:
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert got == [USR1] * 5
