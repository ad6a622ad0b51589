"""Children of children, each with threads of its own that wait at the fork."""

import os
import signal
import sys
import threading
import time
import warnings

import capriccio_patch

capriccio_patch.patch_all()
signal.alarm(30)
warnings.simplefilter("ignore", DeprecationWarning)  # there are other threads


def generation(left: int) -> int:
    event = threading.Event()
    waiting = threading.Thread(target=event.wait)
    waiting.start()
    results: list[int] = []

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            try:
                assert not waiting.is_alive()
                status = generation(left - 1) if left else 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
                status = 99
            os._exit(status + 1 if status < 99 else 99)
        results.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    assert waiting.is_alive()
    event.set()
    waiting.join()
    time.sleep(0.001)
    return results[0]


assert generation(3) == 4
print("done")
