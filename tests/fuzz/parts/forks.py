"""Forks: by hand, in threads, by multiprocessing; and the ways to call a part elsewhere."""

from __future__ import annotations

import _thread
import concurrent.futures
import concurrent.futures.process
import concurrent.futures.thread
import multiprocessing
import multiprocessing.connection
import multiprocessing.pool
import multiprocessing.popen_fork
import multiprocessing.queues
import multiprocessing.synchronize
import os
import sys
import threading
import time

from .prelude import _checks, _notes, breathe, busy, described, in_threads, note
from .registry import part

FORK = multiprocessing.get_context("fork")


def outcome(call, arguments):
    """What a call returns, or raises, as text."""
    try:
        return repr(call(**arguments))
    except Exception as error:
        return described(error)


def in_thread(call, **arguments):
    """Call in a new thread."""
    return in_threads(1, lambda _: call(**arguments))[0]


def in_pool(call, **arguments):
    """Call in a pool's worker."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return pool.submit(call, **arguments).result()


def in_raw_thread(call, **arguments):
    """Call in a thread that threading has not made."""
    done = _thread.allocate_lock()
    done.acquire()
    results = []

    def work():
        try:
            results.append(outcome(call, arguments))
        finally:
            done.release()

    _thread.start_new_thread(work, ())
    done.acquire()
    return results


def twice(call, **arguments):
    """Call in two threads at once."""
    return in_threads(2, lambda _: call(**arguments))


def in_child(call, **arguments):
    """Call in a forked process."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            with open(f"outcome_{os.getpid()}", "w") as file:
                file.write(outcome(call, arguments))
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with open(f"outcome_{pid}") as file:
        return status, file.read()


def in_childs_thread(call, **arguments):
    """Call in a process that is forked in a thread."""
    return in_threads(1, lambda _: in_child(call, **arguments))[0]


def write_outcome(call, arguments, name):
    with open(name, "w") as file:
        file.write(outcome(call, arguments))


def in_process(call, **arguments):
    """Call in a process of multiprocessing, that is started in a thread."""
    name = f"outcome_{threading.get_ident()}_{time.monotonic_ns()}"

    def work(_):
        process = FORK.Process(target=write_outcome, args=(call, arguments, name))
        process.start()
        process.join()
        with open(name) as file:
            return process.exitcode, file.read()

    return in_threads(1, work)


WRAPPERS = ["in_thread", "in_pool", "in_raw_thread", "twice"]
CHILD_WRAPPERS = ["in_child", "in_childs_thread", "in_process"]


class ForkActor:
    """A forked process that runs an actor of the program, and lives as long as that."""

    def __init__(self, name, call):
        self._file = f"notes_{name}"
        self._name = name
        self._pid = os.fork()
        if not self._pid:
            status = 1
            try:
                _notes.clear()
                _checks.clear()
                call()
                note(f"checks {name}", len(_checks))
                with open(self._file, "w") as file:
                    file.write("\n".join(_notes))
                status = 0
            finally:
                os._exit(status)

    def join(self):
        _, status = os.waitpid(self._pid, 0)
        with open(self._file) as file:
            _notes.extend(file.read().splitlines())
        note(f"exit {self._name}", os.waitstatus_to_exitcode(status))


class ProcessActor:
    """The same by multiprocessing."""

    def __init__(self, name, call):
        self._file = f"notes_{name}"
        self._name = name
        self._call = call
        self._process = FORK.Process(target=self._run, name=name)
        self._process.start()

    def _run(self):
        _notes.clear()
        _checks.clear()
        self._call()
        note(f"checks {self._name}", len(_checks))
        with open(self._file, "w") as file:
            file.write("\n".join(_notes))

    def join(self):
        self._process.join()
        with open(self._file) as file:
            _notes.extend(file.read().splitlines())
        note(f"exit {self._name}", self._process.exitcode)


@part(children=range(1, 4), ends=["_exit", "thread returns", "raw thread returns", "kill"])
def fork_ends(children, ends):
    """The ways in which a child forked in a thread ends; several threads fork at once."""

    def work(i):
        pids = []
        done = _thread.allocate_lock()
        done.acquire()

        def fork():
            pid = os.fork()
            if not pid:
                if ends == "_exit":
                    os._exit(i + 3)
                if ends == "kill":
                    os.kill(os.getpid(), 9)
                return
            pids.append(pid)
            done.release()

        if ends == "thread returns":
            threading.Thread(target=fork).start()
        else:
            _thread.start_new_thread(fork, ())
        done.acquire()
        return os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1])

    return in_threads(children, work)


def child_of_queue(work, answers, number):
    for _ in range(number):
        answers.put(work.get() * 2)


@part(children=range(1, 4), items=range(1, 15), thread=[True, False], child=False)
def process_queues(children, items, thread):
    """multiprocessing's queues between processes started here, or in a thread."""

    def work(_):
        work, answers = FORK.Queue(), FORK.Queue()
        processes = [
            FORK.Process(target=child_of_queue, args=(work, answers, items))
            for _ in range(children)
        ]
        for process in processes:
            process.start()
        for n in range(items * children):
            work.put(n)
        got = sorted(answers.get() for _ in range(items * children))
        for process in processes:
            process.join()
        work.close()
        answers.close()
        return got == list(range(0, 2 * items * children, 2)), [p.exitcode for p in processes]

    return in_threads(1, work) if thread else work(0)


def count_up(lock, value, rounds):
    for n in range(rounds):
        with lock:
            before = value.value
            breathe(n)
            value.value = before + 1
    sys.exit(7)


@part(children=range(1, 4), rounds=range(1, 15), kind=["Lock", "RLock", "Semaphore"], child=False)
def process_locks(children, rounds, kind):
    """A lock shared by processes and threads."""
    lock = getattr(FORK, kind)()
    value = FORK.RawValue("i", 0)
    processes = [FORK.Process(target=count_up, args=(lock, value, rounds)) for _ in range(children)]

    def work(i):
        try:
            count_up(lock, value, rounds)
        except SystemExit as error:
            return error.code

    for process in processes:
        process.start()
    results = in_threads(2, work)
    for process in processes:
        process.join()
    return value.value, results, [process.exitcode for process in processes]


def square(n):
    busy(n * 100)
    if n == 13:
        raise LookupError(n)
    return n * n


@part(
    workers=range(1, 3),
    tasks=range(1, 20),
    kind=["executor", "pool", "thread pool"],
    thread=[True, False],
    child=False,
    weight=1,
)
def process_pools(workers, tasks, kind, thread):
    """Pools of processes, and multiprocessing's of threads, made here or in a thread."""

    def work(_):
        if kind == "executor":
            with concurrent.futures.ProcessPoolExecutor(workers, FORK) as pool:
                results = [pool.submit(square, n) for n in range(tasks)]
                errors = [described(each.exception()) for each in results if each.exception()]
                return sum(each.result() for each in results if not each.exception()), errors
        make = FORK.Pool if kind == "pool" else multiprocessing.pool.ThreadPool
        with make(workers) as pool:
            try:
                return sum(pool.map(square, range(tasks)))
            except LookupError as error:
                return described(error)

    return in_threads(1, work) if thread else work(0)


@part(messages=range(1, 20), big=[True, False], child=False)
def process_pipe(messages, big):
    """A duplex connection to a process."""
    here, there = FORK.Pipe()

    def child():
        for _ in range(messages):
            there.send(there.recv()[::-1])

    process = FORK.Process(target=child)
    process.start()
    right = 0
    for n in range(messages):
        data = bytes([n, 1]) * (60_000 if big and n == 0 else 10)
        here.send(data)
        breathe(n)
        right += here.recv() == data[::-1]
    process.join()
    return right, process.exitcode
