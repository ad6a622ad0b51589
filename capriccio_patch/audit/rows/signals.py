"""Signals: waits for them, and waits of the main thread that a handler interrupts."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from ..scene import DELAY, Scene, row

_SIGNAL = signal.SIGUSR1


def _raise_later(scene: Scene, number: int = _SIGNAL) -> None:
    scene.after(os.kill, os.getpid(), number)


def _handle(handler: Callable[[], Any]) -> None:
    signal.signal(_SIGNAL, lambda number, frame: handler() and None)


class _Interrupt(Exception):
    pass


def _interrupt() -> None:
    raise _Interrupt("by a handler")


@row("signal.pause")
def _(scene: Scene) -> Any:
    handled: list[str] = []
    _handle(lambda: handled.append(threading.current_thread().name))
    _raise_later(scene)
    return scene.wait(signal.pause), handled


@row("signal.sigwait")
def _(scene: Scene) -> Any:
    scene.need(signal, "sigwait")
    signal.pthread_sigmask(signal.SIG_BLOCK, [_SIGNAL])
    _raise_later(scene)
    return scene.wait(signal.sigwait, [_SIGNAL])


@row("signal.sigwaitinfo")
def _(scene: Scene) -> Any:
    scene.need(signal, "sigwaitinfo")
    signal.pthread_sigmask(signal.SIG_BLOCK, [_SIGNAL])
    _raise_later(scene)
    info = scene.wait(signal.sigwaitinfo, [_SIGNAL])
    return info.si_signo, info.si_pid == os.getpid()


@row("signal.sigtimedwait")
def _(scene: Scene) -> Any:
    scene.need(signal, "sigtimedwait")
    signal.pthread_sigmask(signal.SIG_BLOCK, [_SIGNAL])
    _raise_later(scene)
    return scene.wait(signal.sigtimedwait, [_SIGNAL], 10).si_signo


@row("signal.sigtimedwait (timeout)")
def _(scene: Scene) -> Any:
    scene.need(signal, "sigtimedwait")
    signal.pthread_sigmask(signal.SIG_BLOCK, [_SIGNAL])
    return scene.wait(signal.sigtimedwait, [_SIGNAL], DELAY)


@row("signal: setitimer and pause")
def _(scene: Scene) -> Any:
    signal.signal(signal.SIGALRM, lambda *args: None)

    def wait() -> None:
        signal.setitimer(signal.ITIMER_REAL, DELAY)
        signal.pause()

    return scene.wait(wait)


@row("signal: set_wakeup_fd and select")
def _(scene: Scene) -> Any:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    _handle(lambda: None)
    _raise_later(scene)
    return len(scene.wait(select.select, [reader], [], [])[0]), os.read(reader, 10)


@row("a handler during time.sleep")
def _(scene: Scene) -> Any:
    """The sleep goes on when the handler has returned (PEP 475)."""
    handled: list[float] = []
    begun = time.perf_counter()
    _handle(lambda: handled.append(time.perf_counter()))
    scene.after(os.kill, os.getpid(), _SIGNAL)
    scene.wait(time.sleep, 2 * DELAY)
    return len(handled), handled[0] - begun < 2 * DELAY


@row("a handler that raises, during time.sleep")
def _(scene: Scene) -> Any:
    _handle(_interrupt)
    _raise_later(scene)
    return scene.wait(time.sleep, 30)


@row("a handler that raises, during Lock.acquire")
def _(scene: Scene) -> Any:
    _handle(_interrupt)
    lock = threading.Lock()
    lock.acquire()
    _raise_later(scene)
    return scene.wait(lock.acquire)


@row("a handler that raises, during socket.recv")
def _(scene: Scene) -> Any:
    _handle(_interrupt)
    here, _there = scene.tcp()
    _raise_later(scene)
    return scene.wait(here.recv, 1)


@row("a handler that raises, during os.read")
def _(scene: Scene) -> Any:
    _handle(_interrupt)
    reader, _writer = os.pipe()
    _raise_later(scene)
    return scene.wait(os.read, reader, 1)


@row("a handler that raises, during os.waitpid")
def _(scene: Scene) -> Any:
    _handle(_interrupt)
    process = scene.process("import sys; print(flush=True); sys.stdin.read()")
    _raise_later(scene)
    return scene.wait(os.waitpid, process.pid, 0)


@row("KeyboardInterrupt during Event.wait")
def _(scene: Scene) -> Any:
    _raise_later(scene, signal.SIGINT)
    return scene.wait(threading.Event().wait)


@row("a handler that sleeps")
def _(scene: Scene) -> Any:
    """It keeps the main thread from going on, and no other."""
    _handle(lambda: time.sleep(DELAY))

    def wait() -> None:
        os.kill(os.getpid(), _SIGNAL)
        time.sleep(0)

    return scene.wait(wait)


@row("signal.pthread_kill of a thread")
def _(scene: Scene) -> Any:
    """The handler runs in the main thread, and the other goes on waiting."""
    scene.need(signal, "pthread_kill")
    handled: list[bool] = []
    main = threading.current_thread()
    _handle(lambda: handled.append(threading.current_thread() is main))
    other = threading.Thread(target=time.sleep, args=(2 * DELAY,))
    other.start()
    scene.after(lambda: signal.pthread_kill(other.ident or 0, _SIGNAL))
    return scene.wait(other.join), handled
