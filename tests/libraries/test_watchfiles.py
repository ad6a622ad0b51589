"""watchfiles lets others run while it waits, and ends as under stock."""

from __future__ import annotations

from typing import Any

import pytest

from tests.libraries.conftest import needs

pytestmark = [needs("watchfiles"), pytest.mark.usefixtures("either_way")]

HEAD = """
import asyncio, os, signal, tempfile, threading, time
import capriccio_patch
capriccio_patch.patch_all()
import watchfiles
folder = tempfile.mkdtemp()
def later(act):
    def run():
        for _ in range(20):
            time.sleep(0.01)
        act()
    threading.Thread(target=run).start()
def change():
    open(folder + "/file", "w").close()
"""


def test_a_thread_makes_what_is_waited_for(run_script: Any) -> None:
    run_script(
        HEAD
        + """
stop = threading.Event()
later(stop.set)
assert list(watchfiles.watch(folder, stop_event=stop, step=500)) == []
later(change)
assert len(next(watchfiles.watch(folder, step=50))) == 1
async def main():
    later(change)
    async for changes in watchfiles.awatch(folder, step=50):
        return len(changes)
assert asyncio.run(main()) == 1
"""
    )


def test_what_a_signal_handler_raises_ends_it(run_script: Any) -> None:
    run_script(
        HEAD
        + """
later(lambda: os.kill(os.getpid(), signal.SIGINT))
assert list(watchfiles.watch(folder, raise_interrupt=False)) == []
later(lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    list(watchfiles.watch(folder))
except KeyboardInterrupt:
    pass
else:
    raise AssertionError
calls = []
signal.signal(signal.SIGUSR1, lambda *_: calls.append(1))
later(lambda: os.kill(os.getpid(), signal.SIGUSR1))
assert next(watchfiles.watch(folder, rust_timeout=1000, yield_on_timeout=True)) == set()
assert calls == [1]
"""
    )


def test_an_exception_for_another_thread_is_raised_when_the_call_is_over(run_script: Any) -> None:
    run_script(
        HEAD
        + """
import ctypes
raised = []
def wait():
    try:
        next(watchfiles.watch(folder, step=50, debounce=100))
    except BaseException as error:
        raised.append(error)
thread = threading.Thread(target=wait)
thread.start()
time.sleep(0.2)
ident, error = ctypes.c_ulong(thread.ident), ctypes.py_object(ZeroDivisionError)
assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, error) == 1
time.sleep(0.2)
assert thread.is_alive()
change()
thread.join()
assert type(raised[0]) is ZeroDivisionError, raised
"""
    )


def test_what_the_library_refuses(run_script: Any) -> None:
    run_script(
        HEAD
        + """
for event in (5, type("Event", (), {"is_set": None})()):
    try:
        next(watchfiles.watch(folder, stop_event=event))
    except (AttributeError, TypeError):
        pass
    else:
        raise AssertionError(event)
class Broken:
    def is_set(self):
        raise ValueError("not now")
try:
    next(watchfiles.watch(folder, stop_event=Broken()))
except ValueError as error:
    assert str(error) == "not now"
else:
    raise AssertionError
"""
    )
