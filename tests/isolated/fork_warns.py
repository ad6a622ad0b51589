"""The warning of a fork in a process of several threads: those of the program, in its words."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import capriccio_patch

capriccio_patch.patch_all()
signal.alarm(30)
warns = sys.version_info >= (3, 12)


def forks() -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        if (pid := os.fork()) == 0:
            os._exit(0 if warnings.filters == filters and not caught else 1)
        assert warnings.filters == filters
        assert os.waitpid(pid, 0) == (pid, 0)
    return caught


with open(__file__) as file:
    file.read()
assert subprocess.run(["true"], check=True).returncode == 0
assert forks() == []  # whatever OS threads the runtime has

thread = threading.Thread(target=time.sleep, args=(0.2,))
thread.start()
caught = forks()
assert len(caught) == warns, caught
if warns:
    assert caught[0].category is DeprecationWarning
    assert str(caught[0].message) == (
        f"This process (pid={os.getpid()}) is multi-threaded, "
        "use of fork() may lead to deadlocks in the child."
    )
    assert caught[0].filename == __file__
thread.join()
assert forks() == []
print("done")
