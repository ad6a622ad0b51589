"""Preemption under load: threads of many kinds, each of which checks its own results.

    python torture.py [SECONDS] [SLICE]

Every kind computes, so it is preempted wherever that is possible; `CAPRICCIO_SCHEDULER` chooses the
policy.  Ends with status 0 and a line of figures, or with the first failure's traceback; a thread
that makes no progress is a failure, with the stacks of all threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import csv
import ctypes
import decimal
import functools
import gc
import hashlib
import importlib
import io
import itertools
import json
import logging
import pickle
import queue
import random
import re
import socket
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
import warnings
import weakref
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import capriccio_patch

STALL = 60.0

_stop = False
_rounds: Counter[str] = Counter()
_progress: dict[str, float] = {}
_failures: list[str] = []
_directory = Path(tempfile.mkdtemp(prefix="torture"))


def check(condition: object, what: object = "wrong result") -> None:
    """As `assert`, with ``-O`` too."""
    if not condition:
        raise AssertionError(what)


# -- computing, with C in between ----------------------------------------------------------------


def parsing(rng: random.Random) -> None:
    value = {str(i): [rng.random(), None, {"x": "é" * (i % 7)}] for i in range(60)}
    check(json.loads(json.dumps(value)) == value)
    check(json.loads(json.dumps(value, indent=1), object_hook=lambda d: dict(d.items())) == value)
    check(pickle.loads(pickle.dumps(value)) == value)
    rows = [[str(rng.randrange(1000)) for _ in range(5)] for _ in range(40)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    check([*csv.reader(io.StringIO(text.getvalue(), newline=""))] == rows)
    names: dict[str, Any] = {}
    exec("def f(n):\n    return sum(i * i for i in range(n))\n", names)
    check(names["f"](200) == sum(i * i for i in range(200)))


def sorting(rng: random.Random) -> None:
    items = [rng.randrange(10_000) for _ in range(400)]
    expected = sorted(items)

    def key(item: int) -> int:
        return sum((item, 0))

    check(sorted(items, key=key) == expected)
    check(sorted(items, key=functools.cmp_to_key(lambda a, b: (a > b) - (a < b))) == expected)
    mine = [*items]
    mine.sort(key=lambda item: -item)
    check(mine == expected[::-1])
    check(max(items, key=key) == expected[-1])


def regular_expressions(rng: random.Random) -> None:
    text = " ".join(str(rng.randrange(1000)) for _ in range(200))
    doubled = re.sub(r"\d+", lambda found: str(int(found[0]) * 2), text)
    check([int(n) for n in doubled.split()] == [int(n) * 2 for n in text.split()])
    check(re.match(r"(a?){18}a{18}$", "a" * 18))


def generators(rng: random.Random) -> None:
    def flatten(tree: Any) -> Iterator[int]:
        if isinstance(tree, int):
            yield tree
        else:
            for each in tree:
                yield from flatten(each)

    tree: Any = rng.randrange(10)
    for depth in range(12):
        tree = [tree, depth, [depth, [depth]]]
    check(sum(flatten(tree)) == sum(itertools.chain(flatten(tree))))

    def echo() -> Iterator[int]:
        got = 0
        while True:
            try:
                got = (yield got * 2) or 0
            except KeyError:
                got = -1

    running: Any = echo()
    next(running)
    for i in range(50):
        check(running.send(i) == 2 * i)
        check(running.throw(KeyError()) == -2)
    running.close()


def numbers(rng: random.Random) -> None:
    big = rng.getrandbits(4000)
    check(int(str(big)) == big)
    check(pow(big, 65537, (1 << 521) - 1) == pow(big % ((1 << 521) - 1), 65537, (1 << 521) - 1))
    with decimal.localcontext() as context:
        context.prec = places = rng.randrange(20, 60)
        third = decimal.Decimal(1) / 3
        for _ in range(50):
            check(decimal.getcontext().prec == places)
            check(len(str(third)) == places + 2)
            third = decimal.Decimal(1) / 3


def compression(rng: random.Random) -> None:
    data = bytes(rng.randrange(50) for _ in range(3000))
    check(zlib.decompress(zlib.compress(data)) == data)
    digest = hashlib.sha256()
    for i in range(0, len(data), 100):
        digest.update(data[i : i + 100])
    check(digest.digest() == hashlib.sha256(data).digest())


def recursion(rng: random.Random) -> None:
    def depth(n: int) -> int:
        return 0 if n == 0 else 1 + depth(n - 1)

    n = rng.randrange(100, 600)
    check(depth(n) == n)
    try:
        depth(1 << 30)
    except RecursionError:
        pass
    else:
        raise AssertionError("no RecursionError")


def classes(rng: random.Random) -> None:
    class Meta(type):
        def __new__(cls, name: str, bases: Any, names: Any) -> Any:
            names["twice"] = lambda self: [self.value] * 2
            return super().__new__(cls, name, bases, names)

    class Value(metaclass=Meta):
        def __init__(self, value: int) -> None:
            self.value = value

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Value) and self.value == other.value

        def __hash__(self) -> int:
            return hash(self.value)

    values = {Value(i): i for i in range(60)}
    check(all(values[Value(i)] == i for i in range(60)))
    check(Value(3).twice() == [3, 3])  # type: ignore[attr-defined]


def exceptions(rng: random.Random) -> None:
    tag = rng.random()

    @contextmanager
    def noted(log: list[float]) -> Iterator[None]:
        log.append(tag)
        try:
            yield
        finally:
            log.pop()

    for _ in range(20):
        log: list[float] = []
        try:
            with noted(log), noted(log):
                raise KeyError(tag)
        except KeyError as error:
            for _ in range(30):
                check(sys.exc_info()[1] is error)
            try:
                raise ValueError from error
            except ValueError as second:
                check(second.__cause__ is error and second.__context__ is error)
            check(sys.exc_info()[1] is error)
        check(sys.exc_info()[1] is None)
        check(not log)


# -- callbacks from C ----------------------------------------------------------------------------


def sqlite(rng: random.Random) -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.create_function("twice", 1, lambda n: sum([n, n]))
        connection.execute("create table t (n integer)")
        connection.executemany("insert into t values (?)", ((i,) for i in range(100)))
        (total,) = connection.execute("select sum(twice(n)) from t").fetchone()
        check(total == 2 * sum(range(100)))
        connection.create_collation("back", lambda a, b: (a < b) - (a > b))
        rows = connection.execute(
            "select cast(n as text) as s from t order by s collate back"
        ).fetchall()
        check(rows == sorted(rows, reverse=True))
    connection.close()


_compare_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc = ctypes.CDLL(None)


def ctypes_callbacks(rng: random.Random) -> None:
    items = (ctypes.c_int * 100)(*(rng.randrange(1000) for _ in range(100)))
    expected = sorted(items)

    def compare(a: int, b: int) -> int:
        return ctypes.c_int.from_address(a).value - ctypes.c_int.from_address(b).value

    _libc.qsort(items, 100, ctypes.sizeof(ctypes.c_int), _compare_type(compare))
    check([*items] == expected)


def destructors(rng: random.Random) -> None:
    gone: list[int] = []

    class Node:
        def __init__(self, number: int) -> None:
            self.number = number
            self.me = self

        def __del__(self) -> None:
            gone.append(sum([self.number] * 3) // 3)

    called: list[Any] = []
    nodes = [Node(i) for i in range(50)]
    references = [weakref.ref(node, lambda ref: called.append(sum([1, 0]))) for node in nodes]
    del nodes
    gc.collect()
    deadline = time.monotonic() + STALL
    while len(gone) < 50 and time.monotonic() < deadline:
        time.sleep(0)  # another thread's collection has them
        gc.collect()
    check(sorted(gone) == [*range(50)], sorted(gone))
    check(not any(ref() for ref in references))


# -- what threads share --------------------------------------------------------------------------

_lock = threading.Lock()
_rlock = threading.RLock()
_condition = threading.Condition()
_semaphore = threading.BoundedSemaphore(2)
_inside = Counter[str]()
_shared = 0


def locks(rng: random.Random) -> None:
    global _shared
    for _ in range(10):
        with _lock:
            _inside["lock"] += 1
            check(_inside["lock"] == 1, "two in one lock")
            before = _shared
            for _ in range(rng.randrange(300)):
                pass
            _shared = before + 1
            _inside["lock"] -= 1
        with _rlock, _rlock:
            _inside["rlock"] += 1
            check(_inside["rlock"] == 1, "two in one recursive lock")
            for _ in range(rng.randrange(300)):
                pass
            _inside["rlock"] -= 1
        with _semaphore:
            _inside["semaphore"] += 1
            check(_inside["semaphore"] <= 2, "three in a semaphore of two")
            for _ in range(rng.randrange(300)):
                pass
            _inside["semaphore"] -= 1


_waiting = 0


def conditions(rng: random.Random) -> None:
    """Of every two, one waits for the other."""
    global _waiting
    with _condition:
        if _waiting:
            _waiting -= 1
            _condition.notify()
        elif not _stop:  # after that nobody notifies any more
            _waiting += 1
            if not _condition.wait(STALL) and not _stop:
                raise AssertionError("a notification was lost")
    sum(range(rng.randrange(3000)))


_work: queue.Queue[tuple[int, queue.SimpleQueue[int]]] = queue.Queue(5)
_askers: list[threading.Thread] = []
"""Whom the answerers must outlive."""


def askers(rng: random.Random) -> None:
    answers: queue.SimpleQueue[int] = queue.SimpleQueue()
    numbers = [rng.randrange(1000) for _ in range(10)]
    for number in numbers:
        _work.put((number, answers), timeout=STALL)
    check(Counter(answers.get(timeout=STALL) for _ in numbers) == Counter(n * 2 for n in numbers))


def answerers(rng: random.Random) -> None:
    try:
        number, answers = _work.get(timeout=0.5)
    except queue.Empty:
        return
    answers.put(sum(number for _ in range(2)))


def spinners(rng: random.Random) -> None:
    """Two that wait for each other without a call that could park."""
    answered = False

    def answer() -> None:
        nonlocal answered
        while not asked:
            pass
        answered = True

    asked = False
    thread = threading.Thread(target=answer)
    thread.start()
    asked = True
    while not answered:
        pass
    thread.join()


def sockets(rng: random.Random) -> None:
    near, far = socket.socketpair()
    data = bytes(rng.randrange(256) for _ in range(5000)) * 20

    def echo() -> None:
        with far, far.makefile("rwb") as file:
            for line in iter(lambda: file.read(1000), b""):
                file.write(line)
            file.flush()

    thread = threading.Thread(target=echo)
    thread.start()
    sender = threading.Thread(target=lambda: (near.sendall(data), near.shutdown(socket.SHUT_WR)))
    sender.start()
    got = b""
    while chunk := near.recv(3000):
        got += chunk
    check(got == data)
    sender.join()
    thread.join()
    near.close()


def spinning_receiver(rng: random.Random) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    thread = threading.Thread(target=lambda: (sum(range(20_000)), far.sendall(b"x")))
    thread.start()
    while True:
        try:
            check(near.recv(1) == b"x")
            break
        except BlockingIOError:
            pass
    thread.join()
    near.close()
    far.close()


_packages = itertools.count()
_current_package = ""
_package_round = -1


def imports(rng: random.Random) -> None:
    """Several threads import the same new module, whose body takes a while."""
    number = next(_packages) // 3
    name = f"torture_module_{number}"
    path = _directory / f"{name}.py"
    if not path.exists():
        temporary = _directory / f"{name}.{rng.random()}"
        temporary.write_text(
            "import json, decimal\n"
            "total = 0\n"
            "for i in range(5000):\n"
            "    total += i\n"
            "class Done:\n"
            "    value = total\n"
        )
        temporary.replace(path)
        importlib.invalidate_caches()
    module = importlib.import_module(name)
    check(module.Done.value == sum(range(5000)), "a module was seen half made")
    if rng.random() < 0.2:
        sys.modules.pop(f"torture_module_{number - 3}", None)


_log = logging.getLogger("torture")
_stream = (_directory / "log").open("w", buffering=8192)
_bytes = (_directory / "bytes").open("wb", buffering=4096)
_logged = itertools.count()
_lines = 0


def logs(rng: random.Random) -> None:
    global _lines
    for _ in range(10):
        _log.warning("%s: %s", threading.current_thread().name, "x" * rng.randrange(200))
        with _lock:
            _lines += 1


def prints(rng: random.Random) -> None:
    for _ in range(10):
        print("line", rng.random(), file=_stream_of_prints)
    _stream_of_prints.flush()
    _bytes.write(b"y" * 100)
    _bytes.flush()


_stream_of_prints = (_directory / "prints").open("w", buffering=8192)

_local = threading.local()
_variable = contextvars.ContextVar[float]("_variable", default=0.0)


def identities(rng: random.Random) -> None:
    tag = rng.random()
    me = threading.current_thread()
    ident = threading.get_ident()
    _local.tag = tag
    _variable.set(tag)
    for _ in range(200):
        check(_local.tag == tag, "another thread's local")
        check(_variable.get() == tag, "another thread's context variable")
        check(threading.current_thread() is me)
        check(threading.get_ident() == ident)


def asyncio_loops(rng: random.Random) -> None:
    async def child(n: int) -> int:
        await asyncio.sleep(0)
        total = sum(i for i in range(n))
        await asyncio.sleep(rng.random() / 1000)
        return total

    async def parent() -> None:
        numbers = [rng.randrange(300) for _ in range(10)]
        check(await asyncio.gather(*map(child, numbers)) == [sum(range(n)) for n in numbers])
        blocking = asyncio.to_thread(sum, range(1000))
        check(await asyncio.wait_for(blocking, STALL) == sum(range(1000)))

    asyncio.run(parent())


def pools(rng: random.Random) -> None:
    with ThreadPoolExecutor(3) as pool:
        numbers = [rng.randrange(500) for _ in range(12)]
        check([*pool.map(lambda n: sum(range(n)), numbers)] == [sum(range(n)) for n in numbers])


def naps(rng: random.Random) -> None:
    started = time.monotonic()
    time.sleep(0.005)
    check(time.monotonic() - started >= 0.004)


def warned(rng: random.Random) -> None:
    with warnings.catch_warnings(record=True):
        warnings.warn("seen", UserWarning, stacklevel=1)


def garbage(rng: random.Random) -> None:
    for _ in range(100):
        cycle: list[Any] = []
        cycle.append(cycle)
    if rng.random() < 0.1:
        gc.collect()


# -- the run -------------------------------------------------------------------------------------

KINDS: dict[Callable[[random.Random], None], int] = {
    parsing: 2,
    sorting: 2,
    regular_expressions: 1,
    generators: 2,
    numbers: 2,
    compression: 1,
    recursion: 2,
    classes: 1,
    exceptions: 2,
    sqlite: 2,
    ctypes_callbacks: 1,
    destructors: 2,
    locks: 3,
    conditions: 2,
    askers: 2,
    answerers: 3,
    spinners: 1,
    sockets: 2,
    spinning_receiver: 1,
    imports: 3,
    logs: 2,
    prints: 2,
    identities: 2,
    asyncio_loops: 2,
    pools: 1,
    naps: 2,
    warned: 1,
    garbage: 1,
}


def work(kind: Callable[[random.Random], None], name: str, seed: int) -> None:
    """Rounds of one kind until the end or the first failure."""
    global _stop
    rng = random.Random(seed)
    try:
        while not _stop or (kind is answerers and any(t.is_alive() for t in _askers)):
            kind(rng)
            _rounds[kind.__name__] += 1
            _progress[name] = time.monotonic()
    except BaseException:
        _failures.append(f"{name}:\n{traceback.format_exc()}")
        _stop = True


def stacks() -> str:
    """Where every thread is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"{names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    )


def main() -> int:
    """Run all kinds for some seconds."""
    global _stop
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    slice_ = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0002
    from capriccio_patch.kernel.core import Kernel
    from capriccio_patch.schedulers.random import RandomScheduler

    RandomScheduler.least_slice = 0.0  # else a turn of all threads takes as long as a stall
    capriccio_patch.patch_all(slice=slice_, blocked="off")

    preemptions = 0
    preempt = Kernel.preempt

    def counting(self: Any) -> None:
        nonlocal preemptions
        preemptions += 1
        preempt(self)

    Kernel.preempt = counting  # type: ignore[method-assign]
    sys.path.insert(0, str(_directory))
    sys.dont_write_bytecode = True
    handler = logging.StreamHandler(_stream)
    _log.addHandler(handler)
    _log.propagate = False
    started = time.monotonic()
    threads = []
    for kind, count in KINDS.items():
        for number in range(count):
            name = f"{kind.__name__}-{number}"
            _progress[name] = started
            thread = threading.Thread(target=work, args=(kind, name, len(threads)), name=name)
            threads.append(thread)
            if kind is askers:
                _askers.append(thread)
            thread.daemon = True
            thread.start()
    while not _stop and time.monotonic() < started + seconds:
        time.sleep(0.2)
        for name, last in [*_progress.items()]:
            if time.monotonic() - last > STALL and not _failures:
                _failures.append(f"{name} makes no progress\n{stacks()}")
                _stop = True
    _stop = True
    with _condition:
        _condition.notify_all()
    deadline = time.monotonic() + STALL
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive() and not _failures:
            _failures.append(f"{thread.name} does not end\n{stacks()}")
    for name in (kind.__name__ for kind in KINDS):
        if not _rounds[name] and not _failures:
            _failures.append(f"{name} was never through\n{stacks()}")
    _stream.flush()
    if (written := (_directory / "log").read_text().count("\n")) != _lines and not _failures:
        _failures.append(f"{_lines} lines were logged, {written} written")
    for failure in _failures:
        print(failure)
    print(
        f"{preemptions} preemptions, {sum(_rounds.values())} rounds, "
        f"{time.monotonic() - started:.0f} s, {len(_failures)} failures"
    )
    if "-v" in sys.argv:
        print(_rounds)
    sys.stdout.flush()
    return bool(_failures)


if __name__ == "__main__":
    sys.exit(main())
