"""Time, threading, queue, concurrent.futures, imports, and a thread that only computes."""

from __future__ import annotations

import _thread
import concurrent.futures
import importlib
import queue
import sched
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..scene import DELAY, Scene, row, rows


@row("time.sleep")
def _(scene: Scene) -> Any:
    return scene.wait(time.sleep, DELAY)


@row("a loop that computes")
def _(scene: Scene) -> Any:
    def compute() -> bool:
        end = time.process_time() + DELAY  # as much to do on a busy machine
        count = 0
        while time.process_time() < end:
            for _ in range(1000):
                count += 1
        return count > 0

    return scene.wait(compute)


@row("sched.scheduler.run")
def _(scene: Scene) -> Any:
    scheduler = sched.scheduler()
    done: list[int] = []
    scheduler.enter(DELAY, 1, done.append, (1,))
    return scene.wait(scheduler.run), done


@row("import of what another thread imports")
def _(scene: Scene) -> Any:
    Path("slow_module.py").write_text("import slow_gate\nslow_gate.wait()\nready = True\n")
    Path("slow_gate.py").write_text(
        "import threading\nbegun, gate = threading.Event(), threading.Event()\n"
        "def wait():\n    begun.set()\n    gate.wait()\n"
    )
    sys.path.insert(0, "")
    gate = importlib.import_module("slow_gate")
    threading.Thread(target=importlib.import_module, args=("slow_module",)).start()
    gate.begun.wait()
    scene.after(gate.gate.set)
    return scene.wait(importlib.import_module, "slow_module").ready


# -- threading ---------------------------------------------------------------------------------


def _thread_until(event: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=event.wait)
    thread.start()
    return thread


@row("threading.Thread.join")
def _(scene: Scene) -> Any:
    event = threading.Event()
    thread = _thread_until(event)
    scene.after(event.set)
    return scene.wait(thread.join), thread.is_alive()


@row("threading.Thread.join (timeout)")
def _(scene: Scene) -> Any:
    thread = _thread_until(threading.Event())
    return scene.wait(thread.join, DELAY), thread.is_alive()


@row("threading.Lock")
def _(scene: Scene) -> Any:
    lock = threading.Lock()
    lock.acquire()
    scene.after(lock.release)
    return scene.wait(lock.acquire), lock.locked()


@row("threading.Lock (timeout)")
def _(scene: Scene) -> Any:
    lock = threading.Lock()
    lock.acquire()
    return scene.wait(lock.acquire, timeout=DELAY)


@row("threading.Lock (with)")
def _(scene: Scene) -> Any:
    lock = _thread.allocate_lock()
    lock.acquire()
    scene.after(lock.release)

    def enter() -> bool:
        with lock:
            return lock.locked()

    return scene.wait(enter)


def _rlock(scene: Scene, lock: Any) -> Any:
    """Wait for `lock`, which another thread holds twice."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock, lock:
            held.set()
            release.wait()

    threading.Thread(target=hold).start()
    held.wait()
    scene.after(release.set)
    return scene.wait(lock.acquire), lock.acquire(), lock.release()


@row("threading.RLock")
def _(scene: Scene) -> Any:
    return _rlock(scene, threading.RLock())


@row("threading.RLock (in Python)")
def _(scene: Scene) -> Any:
    return _rlock(scene, threading._PyRLock())  # type: ignore[attr-defined]


@row("threading.Condition.wait")
def _(scene: Scene) -> Any:
    condition = threading.Condition()

    def notify() -> None:
        with condition:
            condition.notify()

    scene.after(notify)
    with condition:
        return scene.wait(condition.wait)


@row("threading.Condition.wait (timeout)")
def _(scene: Scene) -> Any:
    condition = threading.Condition(threading.Lock())
    with condition:
        return scene.wait(condition.wait, DELAY)


@row("threading.Condition.wait_for")
def _(scene: Scene) -> Any:
    condition = threading.Condition()
    items: list[int] = []

    def notify() -> None:
        with condition:
            items.append(1)
            condition.notify_all()

    scene.after(notify)
    with condition:
        return scene.wait(condition.wait_for, lambda: len(items))


@row("threading.Event.wait")
def _(scene: Scene) -> Any:
    event = threading.Event()
    scene.after(event.set)
    return scene.wait(event.wait)


@row("threading.Event.wait (timeout)")
def _(scene: Scene) -> Any:
    return scene.wait(threading.Event().wait, DELAY)


@row("threading.Semaphore")
def _(scene: Scene) -> Any:
    semaphore = threading.Semaphore(0)
    scene.after(semaphore.release)
    return scene.wait(semaphore.acquire)


@row("threading.BoundedSemaphore (timeout)")
def _(scene: Scene) -> Any:
    semaphore = threading.BoundedSemaphore(1)
    semaphore.acquire()
    return scene.wait(semaphore.acquire, timeout=DELAY)


@row("threading.Barrier")
def _(scene: Scene) -> Any:
    barrier = threading.Barrier(2)
    scene.after(barrier.wait)
    return scene.wait(barrier.wait)


@row("threading.Barrier (timeout)")
def _(scene: Scene) -> Any:
    return scene.wait(threading.Barrier(2).wait, DELAY)


@row("threading.Timer")
def _(scene: Scene) -> Any:
    called: list[str] = []
    timer = threading.Timer(DELAY, called.append, ("called",))
    timer.start()
    return scene.wait(timer.join), called


@row("threading.local")
def _(scene: Scene) -> Any:
    """A thread's own values are the same after a wait in which others set theirs."""
    local = threading.local()
    local.value = "mine"
    event = threading.Event()

    def other() -> None:
        local.value = "another's"
        event.set()

    scene.after(other)
    return scene.wait(event.wait), local.value


# -- queue ---------------------------------------------------------------------------------------


@rows(
    {
        "queue.Queue.get": (queue.Queue,),
        "queue.LifoQueue.get": (queue.LifoQueue,),
        "queue.PriorityQueue.get": (queue.PriorityQueue,),
        "queue.SimpleQueue.get": (queue.SimpleQueue,),
    }
)
def _get(scene: Scene, make: Callable[[], Any]) -> Any:
    items = make()
    scene.after(items.put, "item")
    return scene.wait(items.get), items.qsize()


@row("queue.Queue.get (timeout)")
def _(scene: Scene) -> Any:
    return scene.wait(queue.Queue().get, timeout=DELAY)


@row("queue.SimpleQueue.get (timeout)")
def _(scene: Scene) -> Any:
    return scene.wait(queue.SimpleQueue().get, timeout=DELAY)


@row("queue.Queue.put")
def _(scene: Scene) -> Any:
    items: queue.Queue[int] = queue.Queue(1)
    items.put(1)
    scene.after(items.get)
    return scene.wait(items.put, 2), items.get()


@row("queue.Queue.put (timeout)")
def _(scene: Scene) -> Any:
    items: queue.Queue[int] = queue.Queue(1)
    items.put(1)
    return scene.wait(items.put, 2, timeout=DELAY)


@row("queue.Queue.join")
def _(scene: Scene) -> Any:
    items: queue.Queue[int] = queue.Queue()
    items.put(1)
    scene.after(items.task_done)
    return scene.wait(items.join)


@row("queue.Queue.shutdown")
def _(scene: Scene) -> Any:
    items: Any = queue.Queue()
    scene.need(queue.Queue, "shutdown")
    scene.after(items.shutdown)
    return scene.wait(items.get)


# -- concurrent.futures --------------------------------------------------------------------------


def _submitted(scene: Scene) -> tuple[concurrent.futures.Executor, Any]:
    """A pool of threads, and what it is to return when the wait is over."""
    executor = concurrent.futures.ThreadPoolExecutor(2)
    event = threading.Event()
    scene.after(event.set)
    return executor, executor.submit(event.wait)


@row("concurrent.futures: Future.result")
def _(scene: Scene) -> Any:
    _, future = _submitted(scene)
    return scene.wait(future.result)


@row("concurrent.futures: Future.exception (timeout)")
def _(scene: Scene) -> Any:
    return scene.wait(concurrent.futures.Future[int]().exception, DELAY)


@row("concurrent.futures.wait")
def _(scene: Scene) -> Any:
    _, future = _submitted(scene)
    done, pending = scene.wait(concurrent.futures.wait, [future])
    return done == {future}, pending


@row("concurrent.futures.as_completed")
def _(scene: Scene) -> Any:
    _, future = _submitted(scene)
    return scene.wait(lambda: [one.result() for one in concurrent.futures.as_completed([future])])


@row("ThreadPoolExecutor.map")
def _(scene: Scene) -> Any:
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        return scene.wait(lambda: list(executor.map(time.sleep, [DELAY] * 3)))


@row("ThreadPoolExecutor.shutdown")
def _(scene: Scene) -> Any:
    executor, _ = _submitted(scene)
    return scene.wait(executor.shutdown)
