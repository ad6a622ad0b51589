"""Exceptions that one thread raises in another: ``PyThreadState_SetAsyncExc``."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch import original

green = pytest.mark.usefixtures("patched")


def spin(condition: Callable[[], Any]) -> None:
    """Let others run until `condition` holds."""
    while not condition():
        time.sleep(0.0005)


def in_thread(call: Callable[[], Any]) -> Any:
    """What `call` returns in a thread of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


SET_ASYNC_EXC = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)


@green
class TestAsyncExc:
    """``PyThreadState_SetAsyncExc`` on green idents."""

    set = staticmethod(ctypes.pythonapi.PyThreadState_SetAsyncExc)

    def test_a_thread_that_waits_raises_when_it_runs(self) -> None:
        order: list[str] = []
        end = threading.Event()

        def run() -> None:
            try:
                end.wait()
                order.append("waited")
            except KeyError:
                order.append("raised")

        thread = threading.Thread(target=run)
        thread.start()
        assert thread.ident is not None
        assert self.set(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyError)) == 1
        time.sleep(0.002)
        assert order == []
        end.set()
        thread.join()
        assert order == ["raised"]

    def test_a_thread_that_loops(self) -> None:
        raised: list[int] = []

        def run() -> None:
            try:
                while True:
                    time.sleep(0)
            except KeyError:
                raised.append(1)

        thread = threading.Thread(target=run)
        thread.start()
        assert self.set(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyError)) == 1
        thread.join()
        assert raised == [1]

    def test_the_current_thread(self) -> None:
        def run() -> bool:
            try:
                self.set(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(KeyError))
                for _ in range(1000):
                    pass
            except KeyError:
                return True
            return False

        assert in_thread(run)
        assert run()

    def test_an_os_thread(self) -> None:
        raised: list[int] = []
        idents: list[int] = []

        def run() -> None:
            idents.append(threading.get_ident())
            try:
                while True:
                    pass
            except KeyError:
                raised.append(1)

        original("_thread.start_new_thread")(run, ())
        spin(lambda: idents)
        assert self.set(ctypes.c_ulong(idents[0]), ctypes.py_object(KeyError)) == 1
        spin(lambda: raised)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ctypes.pythonapi["PyThreadState_SetAsyncExc"],
            lambda: ctypes.PyDLL(None).PyThreadState_SetAsyncExc,
            lambda: SET_ASYNC_EXC(("PyThreadState_SetAsyncExc", ctypes.pythonapi)),
            lambda: SET_ASYNC_EXC((b"PyThreadState_SetAsyncExc", ctypes.PyDLL(None))),
            lambda: SET_ASYNC_EXC(ctypes.cast(TestAsyncExc.set, ctypes.c_void_p).value or 0),
        ],
        ids=["item", "library", "prototype", "bytes", "address"],
    )
    def test_whatever_it_is_called_by(self, make: Callable[[], Any]) -> None:
        raised: list[int] = []

        def run() -> None:
            try:
                while True:
                    time.sleep(0)
            except KeyError:
                raised.append(1)

        thread = threading.Thread(target=run)
        thread.start()
        function = make()
        assert function(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyError)) == 1
        thread.join()
        assert raised == [1]
        assert function(ctypes.c_ulong(12345), ctypes.py_object(KeyError)) == 0

    def test_other_functions_are_left_alone(self) -> None:
        function = ctypes.pythonapi["Py_GetVersion"]
        assert type(function) is type(ctypes.pythonapi.Py_GetVersion)
        assert type(SET_ASYNC_EXC(lambda *_: 0)) is SET_ASYNC_EXC

    def test_nobody(self) -> None:
        assert self.set(ctypes.c_ulong(12345), ctypes.py_object(KeyError)) == 0

    def test_it_is_taken_back(self) -> None:
        done: list[int] = []
        thread = threading.Thread(target=lambda: (time.sleep(0.002), done.append(1)))
        thread.start()
        ident = ctypes.c_ulong(thread.ident or 0)
        assert self.set(ident, ctypes.py_object(KeyError)) == 1
        assert self.set(ident, None) == 1
        thread.join()
        assert done == [1]

    def test_types_of_arguments(self) -> None:
        function = ctypes.pythonapi.PyThreadState_SetAsyncExc
        before = function.argtypes
        function.argtypes = (ctypes.c_ulong, ctypes.py_object)
        try:
            assert function(12345, KeyError) == 0
        finally:
            function.argtypes = before
