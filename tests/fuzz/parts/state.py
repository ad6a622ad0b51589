"""What belongs to each thread: locals, context, names, exceptions; imports in threads."""

from __future__ import annotations

import _thread
import contextvars
import importlib
import os
import sys
import threading
import time

from .prelude import breathe, busy, described, in_threads
from .registry import part

VARIABLE = contextvars.ContextVar("VARIABLE", default=0)


class Tally(threading.local):
    """A local whose initializer runs once for each thread."""

    count = 0

    def __init__(self, made):
        made.append(threading.get_ident())
        self.mine = []


@part(threads=range(2, 8), rounds=range(2, 30))
def locals_kept(threads, rounds):
    """Each thread sees its own attributes only."""
    made = []
    plain, tally = threading.local(), Tally(made)

    def work(i):
        plain.value = 0
        for n in range(rounds):
            plain.value += i
            tally.count += 1
            tally.mine.append(i)
            breathe(n + i)
        return plain.value == i * rounds, tally.count, set(tally.mine) == {i}

    return in_threads(threads, work), hasattr(plain, "value"), len(made)


@part(threads=range(2, 8), rounds=range(2, 20))
def contexts_kept(threads, rounds):
    """A context variable's value is the thread's own, also within copies of contexts."""

    def inner(i, n):
        VARIABLE.set(1000 + n)
        breathe(i)
        return VARIABLE.get()

    def work(i):
        wrong = []
        token = VARIABLE.set(i)
        for n in range(rounds):
            if contextvars.copy_context().run(inner, i, n) != 1000 + n or VARIABLE.get() != i:
                wrong.append(n)
            breathe(i + n)
        VARIABLE.reset(token)
        return wrong, VARIABLE.get()

    return in_threads(threads, work)


@part(threads=range(2, 7))
def identities(threads):
    """Threads that live together differ; each is the current one in its own eyes."""
    gate = threading.Barrier(threads)
    idents = []
    made = []

    def work():
        idents.append(threading.get_ident())
        gate.wait()
        me = threading.current_thread()
        made.append((me.ident == threading.get_ident(), me.name, me.is_alive(), me in started))
        gate.wait()

    started = [threading.Thread(target=work, name=f"name {i}") for i in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return len(set(idents)), sorted(made), [each.is_alive() for each in started]


TOLD = {}


def record_exception(arguments):
    """Excepthook: those of threads that are in `TOLD` are kept, all others printed."""
    kept = TOLD.get(arguments.thread)
    if kept is None:
        threading.__excepthook__(arguments)
    else:
        cause = arguments.exc_value.__cause__
        kept.append((described(arguments.exc_value), cause and described(cause)))


@part(threads=range(1, 5), chained=[True, False])
def raising_threads(threads, chained):
    """Exceptions that nobody catches go to threading.excepthook, with what led to them."""

    def work(i):
        try:
            breathe(i)
            raise ValueError(f"from thread {i}")
        except ValueError as error:
            if not chained:
                raise
            raise KeyError(i) from error

    mine = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    threading.excepthook = record_exception
    for thread in mine:
        TOLD[thread] = []
        thread.start()
    for thread in mine:
        thread.join()
    return [TOLD.pop(thread) for thread in mine]


@part(threads=range(2, 7), slow=[True, False], fails=[True, False], child=False)
def imports(threads, slow, fails):
    """A module that several threads import at once is executed once."""
    name = f"imported_{threading.get_ident()}_{time.monotonic_ns()}"
    runs = []
    sys.modules[f"{name}_runs"] = runs
    with open(f"{name}.py", "w") as file:
        file.write("import sys, time\nsys.modules[__name__ + '_runs'].append(1)\n")
        file.write("time.sleep(0.002)\n" * slow)
        file.write("raise OSError('in the module')\n" * fails)
        file.write("value = 7\n")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()

    def work(i):
        breathe(i)
        return importlib.import_module(name).value

    results = in_threads(threads, work)
    sys.modules.pop(name, None)
    return results, len(runs) if not fails else len(runs) >= 1


@part(threads=range(1, 8), ends=["return", "exit", "SystemExit"])
def raw_threads(threads, ends):
    """Threads of _thread, which nothing joins."""
    done = []
    locks = [_thread.allocate_lock() for _ in range(threads)]

    def work(i):
        try:
            breathe(i)
            done.append(i)
            if ends == "exit":
                _thread.exit()
            elif ends == "SystemExit":
                raise SystemExit(i)
        finally:
            locks[i].release()

    for i in range(threads):
        locks[i].acquire()
        _thread.start_new_thread(work, (i,))
    for lock in locks:
        lock.acquire()
    return sorted(done)


@part(threads=range(2, 6), rounds=range(2, 12))
def generators(threads, rounds):
    """Generators that are begun in one thread and go on in others, under a lock."""
    lock = threading.Lock()

    def count():
        total = 0
        while True:
            breathe(total)
            total += 1
            yield total

    source = count()
    got = []

    def work(i):
        for n in range(rounds):
            with lock:
                got.append(next(source))
            busy(20 * (i + n))

    in_threads(threads, work)
    return got == list(range(1, threads * rounds + 1))


@part(threads=range(2, 6), rounds=range(2, 20))
def handled_exceptions(threads, rounds):
    """The exception that a thread handles is its own, also while others handle theirs."""

    def work(i):
        wrong = 0
        for n in range(rounds):
            try:
                raise KeyError(i, n)
            except KeyError:
                breathe(n + i)
                wrong += sys.exc_info()[1].args != (i, n)
                try:
                    raise ValueError(n)
                except ValueError as error:
                    breathe(n)
                    wrong += error.__context__.args != (i, n)
            wrong += sys.exc_info()[1] is not None
        return wrong

    return in_threads(threads, work)


@part(threads=range(2, 5), rounds=range(1, 8), size=[300, 3000])
def computing(threads, rounds, size):
    """Threads that only compute, and share lists and dicts whose operations are atomic."""
    together = []
    table = {}

    def work(i):
        for n in range(rounds):
            together.append(busy(size))
            table[i, n] = sum(sorted(range(50), key=lambda x: -x)[:1])
        return sum(table[i, n] for n in range(rounds))

    return in_threads(threads, work), len(together), len(table), len(set(together))
