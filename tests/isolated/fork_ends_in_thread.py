"""Children forked in threads of all kinds end when their work is done, as the main thread's do."""

import _thread
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import capriccio_patch

capriccio_patch.patch_all()
signal.alarm(60)
warnings.simplefilter("ignore", DeprecationWarning)  # there are other threads

context = multiprocessing.get_context("fork")
parents_main = threading.main_thread()
failed: list[str] = []


def work() -> None:
    """In the child: threads of its own, one of which it does not join."""
    assert threading.current_thread() is threading.main_thread()
    if threading.main_thread() is not parents_main:
        assert not parents_main.is_alive()
    thread = threading.Thread(target=time.sleep, args=(0.002,))
    thread.start()
    thread.join()
    threading.Thread(target=time.sleep, args=(0.01,)).start()


def nested() -> None:
    failed.clear()  # the parent's
    work()
    thread = threading.Thread(target=process, args=(work,))
    thread.start()
    thread.join()
    sys.exit(len(failed))


def process(target: Callable[[], None]) -> None:
    child = context.Process(target=target)
    child.start()
    child.join(20)
    if child.exitcode != 0:
        failed.append(f"{target.__name__} in {threading.current_thread()}: {child.exitcode}")
        child.kill()


def pool() -> None:
    with context.Pool(2) as workers:
        if workers.map(abs, [-1, 2]) != [1, 2]:
            failed.append("pool")
        workers.close()
        workers.join()


def executor() -> None:
    with ProcessPoolExecutor(2, context) as workers:
        if list(workers.map(abs, [-1, 2])) != [1, 2]:
            failed.append("executor")


def exits() -> None:
    """The interpreter's own end, which joins threads, in a child that runs on in this thread."""
    pid = os.fork()
    if pid == 0:
        # The function that called us is the parent's; what follows is what a program's end does.
        threading._shutdown()
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        failed.append("shutdown")


def raw(function: Callable[..., None], *args: object) -> None:
    done = threading.Event()

    def run() -> None:
        try:
            function(*args)
        finally:
            done.set()

    _thread.start_new_thread(run, ())
    done.wait()


def daemon(function: Callable[..., None], *args: object) -> None:
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    thread.join()


def joinable(function: Callable[..., None], *args: object) -> None:
    start = getattr(_thread, "start_joinable_thread", None)
    if start is not None:  # CPython 3.13
        start(lambda: function(*args)).join()


def plain(function: Callable[..., None], *args: object) -> None:
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def timer(function: Callable[..., None], *args: object) -> None:
    thread = threading.Timer(0.001, function, args)
    thread.start()
    thread.join()


for start in (plain, daemon, raw, joinable, timer):
    start(process, work)
    start(process, nested)
    start(exits)
plain(pool)
plain(executor)
plain(plain, process, work)
process(nested)
print(*(failed or ["done"]), sep="\n")
