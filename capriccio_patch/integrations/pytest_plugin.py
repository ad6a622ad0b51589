"""A plugin for pytest: tests run patched, and a test that leaves threads behind fails.

    pytest -p capriccio_patch

The process is patched before the first ``conftest.py`` is imported, pytest-xdist's workers as well.
A thread that a test has started and that still lives after its teardown fails that test, with the
place where it waits; ``@pytest.mark.leaves_threads`` permits it.

1. Threads that fixtures start in the setup of a test are the fixture's, which may be wider.
2. A thread that was told to end has `_GRACE` seconds to do so.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Generator
from types import FrameType

import pytest

import capriccio_patch

__all__: list[str] = []

_GRACE = 1.0
_BEFORE = pytest.StashKey[set[threading.Thread]]()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before anything of the program is imported."""
    capriccio_patch.patch_all(children=True)


def pytest_configure(config: pytest.Config) -> None:
    """Where the plugin was named too late for that, in a conftest.py for instance."""
    capriccio_patch.patch_all(children=True)
    config.addinivalue_line(
        "markers", "leaves_threads: threads that the test starts may outlive it"
    )


def pytest_report_header() -> str:
    """What a run begins with."""
    status = capriccio_patch.status()
    return f"capriccio_patch: {status['scheduler']}, {status['sockio']}, {status['diskio']}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Note the threads that there are when the test itself begins."""
    item.stash[_BEFORE] = set(threading.enumerate())
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the test if one that it has started still lives."""
    result = yield
    before = item.stash.get(_BEFORE, None)
    if before is None or item.get_closest_marker("leaves_threads") is not None:
        return result
    if left := _left(before):
        frames = sys._current_frames()
        places = [f"  {each.name}: {_place(frames.get(each.ident or 0))}" for each in left]
        pytest.fail("\n".join(["the test leaves threads behind:", *places]), pytrace=False)
    return result


def _left(before: set[threading.Thread]) -> list[threading.Thread]:
    """The threads that are new, when those that were to end have ended."""
    deadline = time.monotonic() + _GRACE
    while left := [each for each in threading.enumerate() if each not in before]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.001)
    return left


def _place(frame: FrameType | None) -> str:
    """Where a thread waits: the line of the program, and what of the standard library it called."""
    stack = (
        [entry for entry in traceback.extract_stack(frame) if not entry.filename.startswith(_OURS)]
        if frame is not None
        else []
    )
    if not stack:
        return "it has not begun"
    called = stack[-1]
    outer = [entry for entry in stack if not entry.filename.startswith(_STANDARD)]
    line = outer[-1] if outer else called
    waits = "" if line is called else f", in {called.name} of {called.filename}:{called.lineno}"
    return f"{line.filename}:{line.lineno} in {line.name}: {line.line}{waits}"


_OURS = __file__.rpartition("integrations")[0]
_STANDARD = threading.__file__.rpartition("threading")[0]
