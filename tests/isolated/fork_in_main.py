"""A fork in the main thread, others waiting: the child has that thread only, and all works."""

import os
import queue
import signal
import socket
import sys
import threading
import time
import warnings

import capriccio_patch

capriccio_patch.patch_all()
signal.alarm(30)
warnings.simplefilter("ignore", DeprecationWarning)  # there are other threads

lock = threading.Lock()
rlock = threading.RLock()
items: queue.SimpleQueue[int] = queue.SimpleQueue()
a, b = socket.socketpair()
c, d = socket.socketpair()
log: list[str] = []


def wait(call, *args):
    call(*args)
    log.append("woken")


def check_child() -> None:
    assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
    assert threading.current_thread() is threading.main_thread()
    assert threading.get_ident() == threading.main_thread().ident
    assert threading.main_thread().is_alive()
    assert capriccio_patch.status()["threads"] == 1
    assert not any(thread.is_alive() for thread in waiting)
    for thread in waiting:
        thread.join()
    # What the others waited for: nobody does any more.
    items.put(1)
    assert items.get() == 1
    timer = threading.Timer(0.002, d.send, [b"to the child"])
    timer.start()
    assert c.recv(100) == b"to the child"
    timer.join()
    assert lock.locked()  # held by this thread at the fork, as in stock
    lock.release()
    with lock, rlock:
        pass
    # New ones start, wait and end; timers and descriptors work.
    turns: list[int] = []
    event = threading.Event()

    def work() -> None:
        time.sleep(0.002)
        turns.append(1)
        event.set()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert event.wait(10)
    for thread in threads:
        thread.join()
    assert len(turns) == 5
    assert log == []
    assert socket.getaddrinfo("127.0.0.1", 80)


lock.acquire()
waiting = [
    threading.Thread(target=wait, args=args)
    for args in (
        (lock.acquire,),
        (items.get,),
        (a.recv, 1),
        (time.sleep, 0.05),
        (rlock.acquire,),
    )
]
rlock.acquire()
threading.Timer(0.002, d.send, [b"in the parent"]).start()
assert c.recv(100) == b"in the parent"
for thread in waiting:
    thread.start()
time.sleep(0)
pid = os.fork()
if pid == 0:
    try:
        rlock.release()
        check_child()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)

assert os.waitpid(pid, 0) == (pid, 0)
assert log in ([], ["woken"])  # the sleeper may be through
assert sum(thread.is_alive() for thread in waiting) >= 4
lock.release()
rlock.release()
items.put(1)
b.send(b"x")
for thread in waiting:
    thread.join(10)
assert log == ["woken"] * 5
print("done")
