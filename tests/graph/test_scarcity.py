"""What is left of descriptors, memory and CPU time."""

from __future__ import annotations

import os
from typing import Any

import pytest

from capriccio_patch.graph import scarcity
from capriccio_patch.graph.scarcity import Level, Scarcity


def test_descriptors_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    used = scarcity.count_descriptors()
    levels = []
    for limit in (used + 1000, used + 12, used + 3, used + 17, used + 100):
        monkeypatch.setattr(scarcity, "_descriptor_limit", lambda limit=limit: limit)
        if not levels:
            stock = Scarcity()
        stock._look_at_descriptors()
        levels.append(stock.descriptors)
    # The fourth has more than "little", but not by enough to be called "enough" again.
    assert levels == [Level.ENOUGH, Level.LITTLE, Level.NONE, Level.LITTLE, Level.ENOUGH]


def test_the_count_is_exact() -> None:
    before = scarcity.count_descriptors()
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]
    assert scarcity.count_descriptors() == before + 100
    for fd in fds:
        os.close(fd)
    assert scarcity.count_descriptors() == before


def test_memory_is_a_share() -> None:
    assert 0.0 < scarcity.memory_left() < 1.0


def test_a_limit_of_the_process_counts(run_script: Any) -> None:
    done = run_script(
        """
        import resource
        import psutil
        from capriccio_patch.graph.scarcity import memory_left
        print(memory_left())
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (int(used / 0.95), resource.RLIM_INFINITY))
        print(memory_left())
        """
    )
    before, after = map(float, done.stdout.split())
    assert after < 0.06
    assert after < before


def test_memory_is_read_as_psutil_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scarcity.resource, "getrlimit", lambda _: (1 << 40, 1 << 40))
    monkeypatch.setattr(scarcity, "_group_left", lambda: None)
    here = scarcity.memory_left()
    monkeypatch.setattr(scarcity, "_IS_LINUX", False)
    assert here == pytest.approx(scarcity.memory_left(), abs=0.02)


def test_memory_is_looked_at_in_place(run_script: Any) -> None:
    """Another OS thread that waits for the GIL would get it before the watchdog."""
    done = run_script(
        """
        import time
        import capriccio_patch
        from capriccio_patch.graph import scarcity
        from capriccio_patch.io import os_threads
        scarcity.EVERY = 0.0
        scarcity.memory_left = lambda: 0.05
        capriccio_patch.patch_all(scheduler="graph")
        from tests.inside import applied
        kernel = applied().runtime.kernel
        others = len(kernel.all()) - 1
        scarcity = kernel.scheduler.scarcity
        while not scarcity.memory:
            time.sleep(0.001)
        print(scarcity.memory.name, os_threads.count() - others)
        """
    )
    assert done.stdout == "LITTLE 0\n"


def test_nothing_is_imported_when_it_looks(run_script: Any) -> None:
    """What the runtime alone has imported is found by a search of the path, which reads files."""
    done = run_script(
        """
        import sys, threading, time
        import capriccio_patch
        from capriccio_patch.graph import scarcity
        scarcity.EVERY = 0.0
        looked = []
        class Finder:
            def find_spec(self, name, path=None, target=None):
                looked.append(name)
        capriccio_patch.patch_all(scheduler="graph")
        sys.meta_path.insert(0, Finder())
        threads = [threading.Thread(target=time.sleep, args=(0.001,)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(0.05)
        print(looked)
        """
    )
    assert done.stdout == "[]\n"


def test_a_control_group(tmp_path: Any) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    assert scarcity._group_left(str(tmp_path)) == pytest.approx(0.4)
    (tmp_path / "memory.max").write_text("max\n")
    assert scarcity._group_left(str(tmp_path)) is None
    assert scarcity._group_left(str(tmp_path / "absent")) is None


def test_cpu_time() -> None:
    stock = Scarcity()
    for passed, runnable, level in (
        (1e-9, 1000, Level.LITTLE),  # all of a short time, and many wait
        (1e-9, 3, Level.ENOUGH),  # few wait
        (1e9, 1000, Level.ENOUGH),  # it has waited most of the time
    ):
        sum(range(1000))
        stock._look_at_cpu(passed, runnable)
        assert stock.cpu is level
