"""What C code keeps by OS thread, exchanged in C."""

from __future__ import annotations

import pytest

from capriccio_patch.cpython import thread_state
from tests.conftest import RunScript

pytest.importorskip("capriccio_patch.core._core")


@pytest.mark.skipif(thread_state.local_words() is None, reason="locals are in the dictionary")
def test_threads_that_have_locals_alone(run_script: RunScript) -> None:
    script = """
    import os, threading, time
    os.environ["CAPRICCIO_CORE"] = "compiled"
    from capriccio_patch.kernel.core import Kernel
    import capriccio_patch

    original = Kernel._exchange
    by_python = []

    def exchange(self, me, new):
        by_python.append(me)
        return original(self, me, new)

    Kernel._exchange = exchange
    capriccio_patch.patch_all()
    local = threading.local()
    seen = []

    def use(name):
        seen.append(hasattr(local, "name"))
        local.name = name
        for _ in range(3):
            time.sleep(0)
            seen.append(local.name != name)

    local.name = "main"
    threads = [threading.Thread(target=use, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for _ in range(5):
        time.sleep(0)
        seen.append(local.name != "main")
    print(len(by_python) <= 1, seen == [False] * 17)  # one may find what was left at the patch
    """
    assert run_script(script).stdout == "True True\n"
