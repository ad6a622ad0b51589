"""The heap of deadlines, as C keeps it: a heap after each push and pop, and nothing lost."""

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
    heap = capriccio_patch.api._applied.runtime.kernel.timers._heap
    random.seed(1)

    def check():
        for at in range(1, len(heap)):
            assert heap[(at - 1) // 2][:2] < heap[at][:2]

    def sleep(*lengths):
        for length in lengths:
            time.sleep(length)
            check()

    for _ in range(300):
        long = random.choice((1000, 2000, 1000.5 + random.random()))
        threading.Thread(target=sleep, args=(long,), daemon=True).start()
    time.sleep(0)
    check()
    waiting = len(heap)
    assert waiting >= 300
    threads = [
        threading.Thread(target=sleep, args=[random.random() / 100 for _ in range(5)])
        for _ in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check()
    assert len(heap) == waiting
    print("all")
"""


def test_the_heap_stays_one(run_script: RunScript) -> None:
    pytest.importorskip("capriccio_patch.core._core")
    done = run_script(SCRIPT, env={"CAPRICCIO_CORE": "compiled"})
    assert done.stdout == "all\n"
