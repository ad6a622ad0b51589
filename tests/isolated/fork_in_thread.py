"""A fork in a green thread: in the child it is the main thread, and may end in every way."""

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

statuses: dict[str, int] = {}


def check() -> None:
    me = threading.current_thread()
    for other in (parents_main, background):
        assert not other.is_alive(), other
        other.join()
    assert threading.main_thread() is me, (threading.main_thread(), me)
    assert threading.enumerate() == [me]
    assert me.is_alive()
    assert me.ident == threading.get_ident()
    assert threading._active[me.ident] is me
    done = []
    thread = threading.Thread(target=lambda: (time.sleep(0.002), done.append(1)))
    thread.start()
    thread.join()
    assert done == [1]
    condition = threading.Condition()
    with condition:
        assert not condition.wait(0.001)


def child(how: str) -> None:
    try:
        check()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(99)
    if how == "_exit":
        os._exit(7)
    if how == "raise":
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        raise KeyError


def fork(how: str) -> None:
    pid = os.fork()
    if pid == 0:
        child(how)
        return
    statuses[how] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


parents_main = threading.current_thread()
ends = ["_exit", "return", "raise"]
background = threading.Thread(target=time.sleep, args=(0.5,))
background.start()
threads = [threading.Thread(target=fork, args=(how,)) for how in ends]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
background.join()
assert threading.current_thread() is threading.main_thread()
assert statuses == {"_exit": 7, "return": 0, "raise": 0}, statuses
print("done")
