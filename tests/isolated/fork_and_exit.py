"""A child that ends by itself: its own threads are joined, its exit callbacks run, once."""

import atexit
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
parent = os.getpid()
atexit.register(lambda: print("parent" if os.getpid() == parent else "child", "exits", flush=True))

threading.Thread(
    target=lambda: (time.sleep(0.03), print("a thread of the parent", flush=True))
).start()
time.sleep(0)
pid = os.fork()
if pid == 0:
    threading.Thread(
        target=lambda: (time.sleep(0.01), print("a thread of the child", flush=True))
    ).start()
    sys.exit(4)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
print("done", flush=True)
