"""A fork on an OS thread that has no green threads: in the child they start there."""

import os
import signal
import sys
import threading
import time
import warnings

import capriccio_patch

warnings.simplefilter("ignore", DeprecationWarning)
capriccio_patch.patch_all()
signal.alarm(30)
statuses: list[int] = []
held = threading.Lock()
held.acquire()


def check() -> None:
    me = threading.current_thread()
    assert threading.main_thread() is me
    assert threading.enumerate() == [me], threading.enumerate()
    order = []
    begin = time.monotonic()

    def work(number: int) -> None:
        time.sleep(max(0.0, begin + number / 20 - time.monotonic()))
        order.append((number, threading.get_native_id()))

    threads = [threading.Thread(target=work, args=(number,)) for number in (3, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    here = threading.get_native_id()
    assert sorted(order) == [(1, here), (2, here), (3, here)], (order, here)
    local = threading.local()
    local.value = 1
    time.sleep(0)
    assert local.value == 1
    assert not held.acquire(timeout=0.001)


def run() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            check()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(99)
        os._exit(6)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


sleeper = threading.Thread(target=held.acquire)
sleeper.start()
capriccio_patch.original("_thread.start_new_thread")(
    lambda: threading.Thread(target=run, daemon=False).start(), ()
)
while not statuses:
    time.sleep(0.001)
assert statuses == [6], statuses
held.release()
sleeper.join()
print("done")
