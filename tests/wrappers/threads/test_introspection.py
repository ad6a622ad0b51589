"""What is told of all threads: their frames, their exceptions."""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import let_others_park

green = pytest.mark.usefixtures("patched")


@green
class TestTelling:
    """What debuggers and monitors ask."""

    def waiting(self, wait: Callable[[], Any]) -> threading.Thread:
        def innermost() -> None:
            wait()

        thread = threading.Thread(target=innermost)
        thread.start()
        let_others_park()
        return thread

    def test_frames_of_parked_threads(self) -> None:
        items: queue.SimpleQueue[int] = queue.SimpleQueue()
        thread = self.waiting(items.get)
        frames = sys._current_frames()
        assert set(frames) >= {thread.ident, threading.get_ident()}
        assert frames[thread.ident or 0].f_code.co_name == "innermost"
        assert frames[threading.get_ident()] is sys._getframe()
        names = [entry.name for entry in traceback.extract_stack(frames[thread.ident or 0])]
        assert names[-3:] == ["_bootstrap_inner", "run", "innermost"]
        items.put(1)
        thread.join()
        assert thread.ident not in sys._current_frames()

    def test_exceptions_of_parked_threads(self) -> None:
        items: queue.SimpleQueue[int] = queue.SimpleQueue()

        def wait() -> None:
            try:
                raise KeyError("handled")
            except KeyError:
                items.get()

        thread = self.waiting(wait)
        other = self.waiting(items.get)
        found = sys._current_exceptions()  # type: ignore[attr-defined]

        def error(ident: int | None) -> Any:
            value = found[ident]
            return value[1] if isinstance(value, tuple) else value

        assert isinstance(error(thread.ident), KeyError)
        assert error(other.ident) is None
        assert error(threading.get_ident()) is None
        items.put(1)
        items.put(2)
        thread.join()
        other.join()

    def test_only_threads_of_the_program(self) -> None:
        """Workers and the watchdog are not: nobody but the main thread is here."""
        with open(__file__) as file:  # some OS thread may do that
            file.read()
        assert set(sys._current_frames()) == {threading.get_ident()}
        assert set(sys._current_exceptions()) == {threading.get_ident()}  # type: ignore[attr-defined]

    @pytest.mark.parametrize("kind", ["trace", "profile"])
    def test_functions_for_all_threads(self, kind: str) -> None:
        set_all = getattr(threading, f"set{kind}_all_threads", None)
        if set_all is None:
            pytest.skip("since 3.12")
        get = getattr(sys, f"get{kind}")

        def function(*_: Any) -> None: ...

        seen: list[Any] = []
        items: queue.SimpleQueue[int] = queue.SimpleQueue()
        thread = self.waiting(lambda: (seen.append(get()), items.get(), seen.append(get())))
        set_all(function)
        try:
            assert get() is function
            items.put(1)
            thread.join()
        finally:
            set_all(None)
        assert seen == [None, function]
        assert get() is None

    @pytest.mark.parametrize("kind", ["trace", "profile"])
    def test_functions_of_new_threads(self, kind: str) -> None:
        calls: list[str] = []

        def function(frame: Any, event: str, _: Any) -> Any:
            if event == "call":
                calls.append(frame.f_code.co_name)

        def traced() -> None: ...

        put = getattr(threading, f"set{kind}")
        put(function)
        try:
            thread = threading.Thread(target=traced)
            thread.start()
            thread.join()
        finally:
            put(None)
        assert "traced" in calls
        assert getattr(sys, f"get{kind}")() is None
