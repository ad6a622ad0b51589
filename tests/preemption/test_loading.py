"""The watchdog waits for no import of the program's."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch.preemption.loading import Loading


def test_it_is_waited_for_a_little_and_told_later() -> None:
    may_load, told = threading.Event(), threading.Event()
    loading = Loading(lambda: may_load.wait(30), told.set)
    assert not loading.is_done()
    may_load.set()
    assert told.wait(30)
    assert loading.is_done()


def test_who_does_not_wait_is_told_later() -> None:
    may_load, told = threading.Event(), threading.Event()
    loading = Loading(lambda: may_load.wait(30), told.set)
    assert not loading.is_done_now()
    assert not told.is_set()
    may_load.set()
    assert told.wait(30)
    assert loading.is_done_now()


def test_who_forks_waits_for_what_is_half_imported() -> None:
    may_load = threading.Event()
    loading = Loading(lambda: may_load.wait(30))
    assert not loading.is_done_now()
    threading.Timer(0.05, may_load.set).start()
    loading.before_fork()
    assert loading.is_over
    loading.after_fork()
    assert loading.is_done()


def test_nothing_begins_while_the_process_forks() -> None:
    loads, told = [], threading.Event()
    loading = Loading(lambda: loads.append(1), told.set)
    loading.before_fork()
    assert not loading.is_done_now()
    assert not loading.is_done()
    assert not loads
    loading.after_fork()
    assert told.wait(30)
    assert loads == [1]
    assert loading.is_done()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_may_import_what_was_being_imported(run_script: Any, tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text(
        "from capriccio_patch.cpython import originals\noriginals.sleep(0.2)\n"
    )
    run_script(
        """
        import importlib, os, sys
        import capriccio_patch
        from capriccio_patch import api
        from capriccio_patch.preemption.loading import Loading
        sys.path.insert(0, sys.argv[1])
        capriccio_patch.patch_all()
        loading = Loading(lambda: importlib.import_module("slow_module"))
        api._applied.runtime.kernel.around_fork_hooks.insert(
            0, (loading.before_fork, loading.after_fork)
        )
        assert not loading.is_done_now()
        pid = os.fork()
        import slow_module
        if not pid:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        """,
        str(tmp_path),
        options=("-W", "ignore"),
        timeout=20,
    )


def test_threads_are_preempted_while_one_keeps_the_import_lock(run_script: Any) -> None:
    done = run_script(
        """
        import _imp, ctypes, sys, threading, time
        import capriccio_patch
        capriccio_patch.patch_all(deadlock="off", blocked="0.05")
        def end():
            time.sleep(0.3)
            over.append(True)
        over = []
        threading.Thread(target=end).start()
        _imp.acquire_lock()
        ctypes.CDLL(None).usleep(250_000)  # long enough to be looked at
        limit = time.monotonic() + 3
        while not over and time.monotonic() < limit:
            pass
        _imp.release_lock()
        print(over)
        """
    )
    assert done.stdout == "[True]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_was_forked_meanwhile_imports_anew(run_script: Any) -> None:
    run_script(
        """
        import os, time
        from capriccio_patch.preemption.loading import Loading
        loading = Loading(lambda: time.sleep(0.3))
        assert not loading.is_done_now()
        pid = os.fork()
        limit = time.monotonic() + 20
        while not loading.is_done():
            assert time.monotonic() < limit
        if not pid:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        """,
        options=("-W", "ignore"),
    )
