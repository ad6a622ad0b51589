"""The deadlines, as C keeps them: a heap and a line after each push and pop, and nothing lost."""

from __future__ import annotations

import pytest

from tests.conftest import RunScript

SCRIPT = """
    import random
    import threading
    import time

    import capriccio_patch

    capriccio_patch.patch_all()
    assert capriccio_patch.status()["core"] == "compiled"
    timers = capriccio_patch.api._applied.runtime.kernel.timers
    heap, line = timers._heap, timers._line
    random.seed(1)

    def check():
        for at in range(1, len(heap)):
            assert heap[(at - 1) // 2][:2] < heap[at][:2]
        order = [entry[:2] for entry in line]
        assert order == sorted(order)

    def sleep(*lengths):
        for length in lengths:
            time.sleep(length)
            check()

    for _ in range(300):
        long = random.choice((1000, 2000, 1000.5 + random.random()))
        threading.Thread(target=sleep, args=(long,), daemon=True).start()
    time.sleep(0)
    check()
    waiting = len(timers)
    assert waiting == len(heap) + len(line) >= 300
    assert heap and line
    threads = [
        threading.Thread(target=sleep, args=[random.random() / 100 for _ in range(5)])
        for _ in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check()
    assert len(timers) == waiting == len(heap) + len(line)
    print("all")
"""


def test_heap_and_line_stay_in_order(run_script: RunScript) -> None:
    pytest.importorskip("capriccio_patch.core._core")
    done = run_script(SCRIPT, env={"CAPRICCIO_CORE": "compiled"})
    assert done.stdout == "all\n"
