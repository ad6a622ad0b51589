"""Code of the program's that an OS thread runs for a green thread runs as that thread."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from capriccio_patch import offload
from capriccio_patch.cpython import originals
from capriccio_patch.cpython.standstill import has_gil
from tests.conftest import RunScript, forks

local = threading.local()
variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default=None)


class Value:
    """Something that weak references can tell of."""


def far(call: Callable[[], Any]) -> Any:
    """Calls, on another OS thread once it is offloaded."""
    return call()


@pytest.fixture
def away(patched: None) -> None:
    """`far` is offloaded, for a thread that has company."""
    offload(f"{__name__}.far")
    assert far(originals.get_ident) != originals.get_ident()


def in_threads(run: Callable[[int], None], count: int = 3) -> None:
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            run(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in failed:
        raise error


def test_who_it_is(away: None) -> None:
    def run(number: int) -> None:
        mine = threading.get_ident(), threading.current_thread(), local.__dict__
        local.number = number
        variable.set(number)
        # Without the GIL threads inherit the context of another one, and so this object of it.
        decimal.setcontext(decimal.Context(prec=10 + number))
        for _ in range(3):
            assert far(lambda: (threading.get_ident(), threading.current_thread())) == mine[:2]
            assert far(lambda: local.__dict__) is mine[2]
            assert far(lambda: (local.number, variable.get())) == (number, number)
            assert far(lambda: decimal.getcontext().prec) == 10 + number
            time.sleep(0.001)

    in_threads(run)
    assert far(threading.main_thread) is far(threading.current_thread)


def test_what_it_sets_stays(away: None) -> None:
    def put(number: int) -> None:
        local.first = number
        variable.set(number)
        time.sleep(0.002)

    def run(number: int) -> None:
        assert not hasattr(local, "first")
        assert variable.get() is None
        far(lambda: put(number))
        assert (local.first, variable.get()) == (number, number)
        far(lambda: put(number + 1))
        assert (local.first, variable.get()) == (number + 1, number + 1)

    in_threads(run)
    in_threads(run)  # on the same workers
    assert not hasattr(local, "first")


def test_a_context_that_has_been_entered(away: None) -> None:
    context = contextvars.copy_context()
    context.run(lambda: far(lambda: variable.set("inside")))
    assert context[variable] == "inside"
    assert variable.get() is None


def test_the_running_loop(away: None) -> None:
    async def ask() -> tuple[Any, Any]:
        return far(asyncio.get_running_loop), asyncio.get_running_loop()

    theirs, mine = asyncio.run(ask())
    assert theirs is mine
    with pytest.raises(RuntimeError, match="no running event loop"):
        far(asyncio.get_running_loop)


@pytest.mark.parametrize("kind", ["trace", "profile"])
def test_who_is_traced(away: None, kind: str) -> None:
    before = getattr(sys, f"get{kind}")()
    seen: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        seen.append(frame.f_code.co_name)

    def in_call() -> None: ...

    def elsewhere() -> None: ...

    put = getattr(sys, f"set{kind}")
    put(note)
    far(in_call)
    put(before)
    far(elsewhere)
    assert "in_call" in seen
    assert "elsewhere" not in seen
    assert not [name for name in seen if name in ("restore", "save", "exchange_words")]


def test_a_signal_handler_has_its_own_meanwhile(away: None) -> None:
    seen: list[Any] = []

    def handler(signum: int, frame: FrameType | None) -> None:
        seen.append((local.mine, threading.current_thread(), variable.get()))

    def waste() -> Any:
        os.kill(os.getpid(), signal.SIGUSR1)
        end = originals.monotonic() + 60
        while not seen and originals.monotonic() < end:
            originals.sleep(0.001)
        return local.mine

    before = signal.signal(signal.SIGUSR1, handler)
    local.mine = mine = Value()
    token = variable.set("mine")
    try:
        assert far(waste) is mine
    finally:
        signal.signal(signal.SIGUSR1, before)
        variable.reset(token)
    assert seen == [(mine, threading.main_thread(), "mine")]


def test_nothing_is_kept_when_the_thread_has_ended(away: None) -> None:
    values: list[weakref.ref[Value]] = []

    def make() -> None:
        local.made_there = Value()
        values.append(weakref.ref(local.made_there))
        variable.set(value := Value())
        values.append(weakref.ref(value))

    def run(number: int) -> None:
        local.made_here = Value()
        values.append(weakref.ref(local.made_here))
        far(make)

    in_threads(run)
    far(int)  # the worker's last call
    gc.collect()
    assert [value() for value in values] == [None] * 9


def test_a_call_that_was_given_up_keeps_nothing_either(away: None) -> None:
    class Gone(Exception):
        pass

    def handler(signum: int, frame: FrameType | None) -> None:
        raise Gone

    begun = originals.allocate_lock()
    ended = originals.allocate_lock()

    def waste() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        originals.lock_acquire(begun, True, 60)
        assert local.value is not None
        originals.lock_release(ended)

    originals.lock_acquire(begun)
    originals.lock_acquire(ended)
    before = signal.signal(signal.SIGUSR1, handler)
    local.value = Value()
    value = weakref.ref(local.value)
    try:
        with pytest.raises(Gone):
            far(waste)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert local.value is value()
    originals.lock_release(begun)
    assert originals.lock_acquire(ended, True, 60)
    far(int)
    time.sleep(0.01)
    del local.value
    gc.collect()
    assert value() is None


@forks
def test_a_fork_in_the_call(away: None) -> None:
    """In the child the lender is the main thread."""

    def fork() -> int:
        me, mine = threading.current_thread(), local.mine
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert threading.current_thread() is threading.main_thread() is me
                assert local.mine is mine
                assert me.is_alive()
                thread = threading.Thread(target=time.sleep, args=(0.001,))
                thread.start()
                thread.join()
                status = 0
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(originals.waitpid(child, 0)[1])

    def run(number: int) -> None:
        local.mine = number
        assert far(fork) == 0

    local.mine = 0
    in_threads(run, 1)
    assert far(fork) == 0


AUDITED = """
import os, socket, sys, threading, time
import capriccio_patch
capriccio_patch.patch_all()
local = threading.local()
seen, bad = set(), []
def hook(event, args):
    wanted = getattr(local, "wanted", None)
    if wanted is not None and event in ("open", "os.system", "socket.getaddrinfo"):
        seen.add(event)
        me = threading.current_thread()
        if me is not wanted or threading.get_ident() != wanted.ident:
            bad.append((event, me, wanted))
        local.count = getattr(local, "count", 0) + 1
        if event == "open" and args[0] == "refused":
            raise PermissionError("no")
sys.addaudithook(hook)
def run():
    local.wanted = threading.current_thread()
    for _ in range(3):
        before = getattr(local, "count", 0)
        with open(__file__): pass
        os.system("exit 0")
        socket.getaddrinfo("localhost", 1)
        assert local.count >= before + 3, (local.count, before)
    try:
        open("refused")
    except PermissionError as error:
        assert str(error) == "no"
    else:
        raise AssertionError
threads = [threading.Thread(target=run) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not bad, bad
print(sorted(seen), threading.active_count())
"""


@pytest.mark.parametrize("diskio", ["workers", "nowait", "blocking"])
def test_audit_hooks(run_script: RunScript, diskio: str) -> None:
    done = run_script(AUDITED, env={"CAPRICCIO_DISKIO": diskio})
    assert done.stdout == "['open', 'os.system', 'socket.getaddrinfo'] 1\n"
    assert done.stderr == ""


IMPORTING = """
import _imp, sys, threading
import capriccio_patch
capriccio_patch.patch_all()
def far():
    _imp.acquire_lock()
    sys.modules.pop("colorsys", None)
    import colorsys
    _imp.release_lock()
capriccio_patch.offload("__main__.far")
def run():
    _imp.acquire_lock()
    far()
    far()
    _imp.release_lock()
threads = [threading.Thread(target=run) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
from tests.conftest import wait_until
wait_until(lambda: not _imp.lock_held())  # by whichever OS thread
far()
"""


def test_the_import_lock_of_the_lender_s(run_script: RunScript) -> None:
    """Finders look for modules under it; the OS thread that is new has its lazy imports found."""
    run_script(IMPORTING, timeout=20)


def test_a_recursive_lock_of_the_lender_s(away: None) -> None:
    lock = threading.RLock()
    condition = threading.Condition(lock)

    def again() -> None:
        with lock, condition:
            assert lock._is_owned()  # type: ignore[attr-defined]
            condition.notify_all()
        with pytest.raises(RuntimeError):
            lock.release()

    def run(number: int) -> None:
        with lock:
            far(again)
            with lock:
                far(again)
            assert lock._is_owned()  # type: ignore[attr-defined]
        assert not far(lock._is_owned)  # type: ignore[attr-defined]

    in_threads(run)
    assert lock.acquire(blocking=False)
    lock.release()


def test_a_recursive_lock_of_another_thread_s(away: None) -> None:
    lock = threading.RLock()

    def try_() -> bool:
        return lock.acquire(blocking=False)

    with lock:
        in_threads(lambda number: refused.append(far(try_)) if number else None, 2)
    assert refused == [False]


refused: list[bool] = []


@pytest.mark.skipif(has_gil(), reason="this interpreter has a GIL: see PYTHONS in the Makefile")
def test_the_collector_stays_on(run_script: RunScript) -> None:
    run_script("""
        import gc, threading, time
        import capriccio_patch
        capriccio_patch.patch_all(scheduler="priority")
        local = threading.local()
        def work(number):
            local.number = number
        capriccio_patch.offload("__main__.work")
        end = time.monotonic() + 3
        def call(number):
            while time.monotonic() < end:
                work(number)
                assert local.number == number
        threads = [threading.Thread(target=call, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert gc.isenabled()
        """)
