"""A fork in a thread that ``threading`` did not start."""

import _thread
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
statuses: list[int] = []


def run() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            assert threading.current_thread() is threading.main_thread()
            time.sleep(0.001)
            thread = threading.Thread(target=time.sleep, args=(0.001,))
            thread.start()
            thread.join()
            os._exit(5)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(99)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


_thread.start_new_thread(run, ())
while not statuses:
    time.sleep(0.001)
assert statuses == [5], statuses
print("done")
