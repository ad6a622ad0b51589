"""Hooks that a program registered before the patch find the child in order: they may wait."""

import os
import signal
import sys
import tempfile
import threading
import time
import warnings

signal.alarm(30)
warnings.simplefilter("ignore", DeprecationWarning)  # there are other threads
log = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115
lock = threading.Lock()
errors: list[BaseException] = []


def hook() -> None:
    try:
        signal.set_wakeup_fd(-1)  # refused outside the main thread; asyncio's hook does it
        assert threading.current_thread() is threading.main_thread()
        log.write(b"written\n")
        time.sleep(0.001)
        assert lock.acquire(timeout=0.001)
    except BaseException as error:
        errors.append(error)


os.register_at_fork(after_in_child=hook)

import capriccio_patch  # noqa: E402

capriccio_patch.patch_all()
statuses = []


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        for error in errors:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stderr.flush()
        os._exit(9 if errors else 7)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


threads = [threading.Thread(target=fork) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert statuses == [7] * 4, statuses
log.seek(0)
assert log.read() == b"written\n" * 4
assert not lock.locked()
print("done")
