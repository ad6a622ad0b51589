"""Threads that wait for each other through queues and the like, beside others that go on."""

from __future__ import annotations

import textwrap

import pytest

from tests.conftest import RunScript

HEAD = """
import atexit, os, queue, signal, sys, threading, time, warnings, weakref
import capriccio_patch
from capriccio_patch.diagnosis import deadlock
from capriccio_patch.preemption import watchdog
deadlock.PATIENCE = watchdog._TO_SETTLE = 0.05
deadlock.Deadlocks.look.__defaults__ = (0.05,)
capriccio_patch.patch_all(blocked="off")

def show(message, *_):
    print(message, flush=True)
    os._exit(0)

warnings.showwarning = show
end = time.monotonic() + SECONDS

def start(*functions):
    for function in functions:
        threading.Thread(target=function, daemon=True).start()

def silent():
    print("silent", flush=True)
    os._exit(0)

def rest():
    time.sleep(0.01)
    if time.monotonic() > end:
        silent()

"""
REST = """
while True:
    rest()
"""
TWO = """
one, two = queue.Queue(), queue.Queue()

def first():
    two.put(one.get())

def second():
    one.put(two.get())
"""


def told(run_script: RunScript, program: str, seconds: float = 20.0) -> str:
    """What is told of a program, within some seconds."""
    head = HEAD.replace("SECONDS", str(seconds))
    if program.startswith(TWO):
        head += TWO
    program = textwrap.dedent(program.removeprefix(TWO))
    return run_script(head + program + REST).stdout


CLOSED = {
    "globals of a script": TWO + "start(first, second)",
    "main has started them in a loop, and goes on after it": TWO
    + """
        for function in (first, second):
            threading.Thread(target=function, daemon=True).start()
        threading.Event().wait(60)
    """,
    "main is in a block that a call has made": TWO
    + """
        start(first, second)
        with open(os.devnull):
            while True:
                rest()
    """,
    "variables of a function that does not use them any more": """
        def work(mine, other):
            other.put(mine.get())

        def main():
            queues = [queue.Queue(), queue.SimpleQueue()]
            one, two = queues
            threading.Thread(target=work, args=(one, two), daemon=True).start()
            threading.Thread(target=work, args=(two, one), daemon=True).start()
            while True:
                rest()

        main()
    """,
    "attributes of an object": """
        class Pipeline:
            def __init__(self):
                self.orders, self.bills = queue.Queue(), queue.Queue()

            def pack(self):
                while order := self.orders.get():
                    self.send(order)

            def send(self, order):
                self.bills.put(order)

            def bill(self):
                while bill := self.bills.get():
                    self.orders.put(bill)

        pipeline = Pipeline()
        start(pipeline.pack, pipeline.bill)
    """,
    "attributes of threads": """
        class Actor(threading.Thread):
            def __init__(self):
                super().__init__(daemon=True)
                self.inbox = queue.Queue()

            def run(self):
                while message := self.inbox.get():
                    self.other.inbox.put(message)

        a, b = Actor(), Actor()
        a.other, b.other = b, a
        a.start(), b.start()
    """,
    "full queues": """
        one, two = queue.Queue(1), queue.Queue(1)
        one.put(0), two.put(0)

        def first():
            one.put(1)
            two.get()

        def second():
            two.put(1)
            one.get()

        start(first, second)
    """,
    "a queue and an end": """
        jobs = queue.Queue()

        def work():
            jobs.get()

        worker = threading.Thread(target=work, daemon=True)
        worker.start()

        def finish():
            worker.join()
            jobs.put(None)

        start(finish)
    """,
    "a queue and a lock": """
        jobs, lock = queue.Queue(), threading.Lock()

        def take():
            with lock:
                jobs.get()

        def give():
            time.sleep(0.01)
            with lock:
                jobs.put(1)

        start(take, give)
    """,
    "events": """
        one, two = threading.Event(), threading.Event()

        def first():
            one.wait()
            two.set()

        def second():
            two.wait()
            one.set()

        start(first, second)
    """,
    "conditions": """
        one, two = threading.Condition(), threading.Condition()

        def meet(mine, other):
            with mine:
                mine.wait()
            with other:
                other.notify()

        start(lambda: meet(one, two), lambda: meet(two, one))
    """,
    "semaphores": """
        one, two = threading.BoundedSemaphore(), threading.Semaphore()
        met = threading.Barrier(2)

        def first():
            with one:
                met.wait()
                with two:
                    pass

        def second():
            with two:
                met.wait()
                with one:
                    pass

        start(first, second)
    """,
    "others wait for theirs": TWO
    + """
        start(first, second)
        threading.Thread(target=rest, name="busy").start()

        def busy():
            while True:
                rest()

        start(busy)
        last = threading.Thread(target=first, daemon=True)
        last.start()
        last.join()
    """,
}


@pytest.mark.one_processor
@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_circle_is_told(run_script: RunScript, name: str) -> None:
    text = told(run_script, CLOSED[name])
    assert "threads wait for each other, while others go on that can't reach what" in text
    assert "the circle: " in text
    assert "silent" not in text


OPEN = {
    "main uses a global": TWO
    + """
        start(first, second)
        while time.monotonic() < end:
            time.sleep(0.01)
        one.put(1)
        silent()
    """,
    "main has begun to use one": TWO
    + """
        start(first, second)

        def ask():
            while True:
                rest()

        one.put(
            ask()
        )
    """,
    "a call for which there is a list of them already": TWO
    + """
        def put(queues, _):
            queues[0].put(1)

        def ask():
            while time.monotonic() < end:
                time.sleep(0.01)
            silent()

        start(first, second)
        queues = [one, two]
        put([each for each in queues], ask())
    """,
    "a function that main calls": TWO
    + """
        def late():
            one.put(1)

        def main():
            rest()
            if time.monotonic() > end - 0.1:
                late()

        start(first, second)
        while True:
            main()
    """,
    "a global by its text": TWO
    + """
        def late(name):
            globals()[name].put(1)

        start(first, second)
    """,
    "a signal handler": TWO
    + """
        signal.signal(signal.SIGUSR1, lambda *_: one.put(1))
        start(first, second)
    """,
    "what runs at the exit": TWO
    + """
        def leave(jobs):
            jobs.put(None)

        atexit.register(leave, one)
        start(first, second)
    """,
    "what main has entered": """
        class Pipeline:
            def __init__(self):
                self.one, self.two = queue.Queue(), queue.Queue()

            def __enter__(self):
                start(self.first, self.second)

            def __exit__(self, *_):
                self.one.put(1)

            def first(self):
                self.two.put(self.one.get())

            def second(self):
                self.one.put(self.two.get())

        with Pipeline():
            while True:
                rest()
    """,
    "a weak set of subscribers": """
        def work(mine, other):
            other.put(mine.get())

        class Queue(queue.Queue):
            pass

        subscribers = weakref.WeakSet()

        def main():
            one, two = Queue(), Queue()
            subscribers.add(one)
            threading.Thread(target=work, args=(one, two), daemon=True).start()
            threading.Thread(target=work, args=(two, one), daemon=True).start()

        main()
        while True:
            rest()
            if time.monotonic() > end - 0.1:
                for each in subscribers:
                    each.put(1)
    """,
    "a loop over them": """
        def work(mine, other):
            other.put(mine.get())

        def both():
            one, two = queue.Queue(), queue.Queue()
            threading.Thread(target=work, args=(one, two), daemon=True).start()
            threading.Thread(target=work, args=(two, one), daemon=True).start()
            return [one, two]

        for each in both():
            while time.monotonic() < end:
                time.sleep(0.01)
            each.put(1)
        silent()
    """,
    "a timer": TWO
    + """
        start(first, second)
        threading.Timer(0.5, one.put, (1,)).start()
    """,
    "an OS thread": TWO
    + """
        start(first, second)

        def late():
            capriccio_patch.original("time.sleep")(0.5)
            one.put(1)

        capriccio_patch.original("_thread.start_new_thread")(late, ())
    """,
    "a generator that waits": TWO
    + """
        def giver():
            yield
            one.put(1)

        given = giver()
        next(given)
        start(first, second)
        while True:
            rest()
            if time.monotonic() > end - 0.1:
                next(given, None)
    """,
    "a closure": """
        def pair():
            one, two = queue.Queue(), queue.Queue()
            start(lambda: two.put(one.get()), lambda: one.put(two.get()))
            return lambda: one.put(1)

        wake = pair()
        while True:
            rest()
            if time.monotonic() > end - 0.1:
                wake()
    """,
    "idle workers of one queue": """
        jobs = queue.Queue()

        def work():
            while True:
                jobs.put(jobs.get())

        start(work, work, work)
    """,
    "stages whose producer is gone": """
        one, two, three = queue.Queue(), queue.Queue(), queue.Queue()

        def stage(mine, following):
            while True:
                following.put(mine.get())

        start(lambda: stage(one, two), lambda: stage(two, three))
    """,
    "a lone worker": """
        jobs = queue.Queue()
        start(jobs.get)
    """,
    "a timeout": """
        one, two = queue.Queue(), queue.Queue()

        def first():
            while True:
                try:
                    two.put(one.get(timeout=0.3))
                except queue.Empty:
                    two.put(1)

        def second():
            while True:
                two.get()
                one.put(two.get())

        start(first, second)
    """,
}


@pytest.mark.one_processor
@pytest.mark.parametrize("name", OPEN)
def test_one_that_others_can_reach_is_not(run_script: RunScript, name: str) -> None:
    assert told(run_script, OPEN[name], 1.0) == "silent\n"
