"""multiprocessing, with each way to start a process, and pools of processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import multiprocessing.pool
import time
from collections.abc import Callable
from multiprocessing.context import BaseContext
from typing import Any

from ..scene import DELAY, Scene, Skip, row, rows

_LARGE = 1_000_000


def _context(method: str = "fork") -> Any:
    if method not in multiprocessing.get_all_start_methods():
        raise Skip(f"no start method {method} here")
    return multiprocessing.get_context(method)


def _echo(connection: Any) -> None:
    """In a child: send back what comes."""
    while True:
        connection.send(connection.recv())


def _hold(lock: Any, connection: Any) -> None:
    """In a child: hold `lock` until something comes."""
    with lock:
        connection.send("held")
        connection.recv()


def _take(items: Any, connection: Any) -> None:
    """In a child: take an item, when something comes."""
    connection.recv()
    items.get()


def _slow(value: Any) -> Any:
    """In a child, or in a thread of a pool."""
    time.sleep(DELAY)
    return value


def _child(context: BaseContext, target: Callable[..., None], *args: Any) -> tuple[Any, Any]:
    """A process that runs ``target(*args, connection)``, and the other end of `connection`."""
    here, there = context.Pipe()
    process = context.Process(  # type: ignore[attr-defined]
        target=target, args=(*args, there), daemon=True
    )
    process.start()
    there.close()
    return process, here


@rows(
    {
        "multiprocessing.Process.join (fork)": ("fork",),
        "multiprocessing.Process.join (spawn)": ("spawn",),
        "multiprocessing.Process.join (forkserver)": ("forkserver",),
    }
)
def _join(scene: Scene, method: str) -> Any:
    process, connection = _child(_context(method), _echo)
    connection.send("abc")
    answer = connection.recv()
    scene.after(process.terminate)
    return answer, scene.wait(process.join), process.exitcode


@row("multiprocessing.Process.join (timeout)")
def _(scene: Scene) -> Any:
    process, _connection = _child(_context(), _echo)
    return scene.wait(process.join, DELAY), process.exitcode


@row("multiprocessing.connection: recv")
def _(scene: Scene) -> Any:
    _, connection = _child(_context(), _echo)
    scene.after(connection.send, ["abc"])
    return scene.wait(connection.recv)


@row("multiprocessing.connection: send")
def _(scene: Scene) -> Any:
    reader, writer = _context().Pipe(duplex=False)
    scene.after(reader.recv_bytes)
    return scene.wait(writer.send_bytes, bytes(_LARGE))


@row("multiprocessing.connection: poll (timeout)")
def _(scene: Scene) -> Any:
    reader, _writer = _context().Pipe(duplex=False)
    return scene.wait(reader.poll, DELAY)


@row("multiprocessing.connection.wait")
def _(scene: Scene) -> Any:
    process, connection = _child(_context(), _echo)
    scene.after(process.terminate)
    waited_for = [process.sentinel, connection]
    return len(scene.wait(multiprocessing.connection.wait, waited_for)) > 0


@row("multiprocessing.connection.Listener.accept")
def _(scene: Scene) -> Any:
    clients: list[Any] = []
    key = b"key"
    with multiprocessing.connection.Listener(authkey=key) as listener:
        scene.after(
            lambda: clients.append(multiprocessing.connection.Client(listener.address, authkey=key))
        )
        with scene.wait(listener.accept) as connection:
            return connection.readable, connection.writable


@row("multiprocessing.Queue.get")
def _(scene: Scene) -> Any:
    items = _context().Queue()
    scene.after(items.put, "item")
    return scene.wait(items.get)


@row("multiprocessing.Queue.get (timeout)")
def _(scene: Scene) -> Any:
    return scene.wait(_context().Queue().get, timeout=DELAY)


@row("multiprocessing.Queue.put")
def _(scene: Scene) -> Any:
    items = _context().Queue(1)
    items.put(1)
    scene.after(items.get)
    return scene.wait(items.put, 2), items.get()


@row("multiprocessing.Queue.join_thread")
def _(scene: Scene) -> Any:
    context = _context()
    items = context.Queue()
    _, connection = _child(context, _take, items)
    items.put(bytes(_LARGE))
    items.close()
    scene.after(connection.send, "take")
    return scene.wait(items.join_thread)


@row("multiprocessing.SimpleQueue.get")
def _(scene: Scene) -> Any:
    items = _context().SimpleQueue()
    scene.after(items.put, "item")
    return scene.wait(items.get)


@row("multiprocessing.JoinableQueue.join")
def _(scene: Scene) -> Any:
    items = _context().JoinableQueue()
    items.put("item")
    scene.after(items.task_done)
    return scene.wait(items.join)


@rows(
    {
        "multiprocessing.Lock": ("Lock",),
        "multiprocessing.RLock": ("RLock",),
        "multiprocessing.Semaphore": ("Semaphore",),
    }
)
def _lock(scene: Scene, kind: str) -> Any:
    """Wait for what a child holds."""
    context = _context()
    lock = getattr(context, kind)()
    _, connection = _child(context, _hold, lock)
    connection.recv()
    scene.after(connection.send, "release")
    return scene.wait(lock.acquire), lock.release()


@row("multiprocessing.Lock (timeout)")
def _(scene: Scene) -> Any:
    lock = _context().Lock()
    lock.acquire()
    return scene.wait(lock.acquire, timeout=DELAY)


@row("multiprocessing.Event.wait")
def _(scene: Scene) -> Any:
    event = _context().Event()
    scene.after(event.set)
    return scene.wait(event.wait)


@row("multiprocessing.Condition.wait (timeout)")
def _(scene: Scene) -> Any:
    condition = _context().Condition()
    with condition:
        return scene.wait(condition.wait, DELAY)


@row("multiprocessing.Barrier")
def _(scene: Scene) -> Any:
    barrier = _context().Barrier(2)
    scene.after(barrier.wait)
    return scene.wait(barrier.wait) in (0, 1)


@row("multiprocessing.Pool.apply")
def _(scene: Scene) -> Any:
    with _context().Pool(2) as pool:
        return scene.wait(pool.apply, _slow, ("abc",))


@row("multiprocessing.Pool.map")
def _(scene: Scene) -> Any:
    with _context().Pool(2) as pool:
        return scene.wait(pool.map, _slow, [1, 2])


@row("multiprocessing.Pool.imap")
def _(scene: Scene) -> Any:
    with _context().Pool(2) as pool:
        return scene.wait(lambda: list(pool.imap(_slow, [1, 2])))


@row("multiprocessing.Pool.map (spawn)")
def _(scene: Scene) -> Any:
    with _context("spawn").Pool(1) as pool:
        return scene.wait(pool.map, _slow, [1])


@row("multiprocessing.Pool: AsyncResult.get (timeout)")
def _(scene: Scene) -> Any:
    with _context().Pool(1) as pool:
        return scene.wait(pool.apply_async(time.sleep, (30,)).get, DELAY)


@row("multiprocessing.Pool.join")
def _(scene: Scene) -> Any:
    pool = _context().Pool(1)
    result = pool.apply_async(_slow, (1,))
    pool.close()
    return scene.wait(pool.join), result.get()


@row("multiprocessing.pool.ThreadPool.map")
def _(scene: Scene) -> Any:
    with multiprocessing.pool.ThreadPool(3) as pool:
        return scene.wait(pool.map, _slow, [1, 2, 3])


@row("multiprocessing.Manager: Queue.get")
def _(scene: Scene) -> Any:
    with _context().Manager() as manager:
        items = manager.Queue()
        scene.after(items.put, "item")
        return scene.wait(items.get)


@row("multiprocessing.Manager: Lock")
def _(scene: Scene) -> Any:
    with _context().Manager() as manager:
        lock = manager.Lock()
        lock.acquire()
        scene.after(lock.release)
        return scene.wait(lock.acquire)


@rows(
    {
        "ProcessPoolExecutor: Future.result (fork)": ("fork",),
        "ProcessPoolExecutor: Future.result (spawn)": ("spawn",),
    }
)
def _result(scene: Scene, method: str) -> Any:
    with concurrent.futures.ProcessPoolExecutor(1, _context(method)) as executor:
        return scene.wait(executor.submit(_slow, "abc").result)


@row("ProcessPoolExecutor.map")
def _(scene: Scene) -> Any:
    with concurrent.futures.ProcessPoolExecutor(2, _context()) as executor:
        return scene.wait(lambda: list(executor.map(_slow, [1, 2])))


@row("ProcessPoolExecutor.shutdown")
def _(scene: Scene) -> Any:
    executor = concurrent.futures.ProcessPoolExecutor(1, _context())
    future = executor.submit(_slow, "abc")
    return scene.wait(executor.shutdown), future.result()
