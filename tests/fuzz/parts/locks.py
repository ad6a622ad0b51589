"""Locks, conditions, events, semaphores and barriers."""

from __future__ import annotations

import threading
import time

from .prelude import breathe, busy, in_threads
from .registry import part

LOCKS = ["Lock", "RLock", "Condition", "Condition(Lock)", "Semaphore", "BoundedSemaphore"]


def make_lock(kind):
    if kind == "Condition(Lock)":
        return threading.Condition(threading.Lock())
    return getattr(threading, kind)()


def take(lock, way):
    """Acquire, in one of four ways."""
    if way % 4 == 0:
        lock.acquire()
    elif way % 4 == 1:
        while not lock.acquire(timeout=60):
            pass
    elif way % 4 == 2:
        while not lock.acquire(timeout=0.0004):
            pass
    else:
        while not lock.acquire(False):
            time.sleep(0)


class Guard:
    """A lock that notices when two are inside, and counts who was."""

    def __init__(self, kind):
        self.lock = make_lock(kind)
        self.inside = []
        self.entered = 0
        self.violations = 0

    def __enter__(self):
        take(self.lock, self.entered)
        self.inside.append(threading.get_ident())
        if len(self.inside) != 1:
            self.violations += 1
        self.before = self.entered

    def __exit__(self, *_):
        self.entered = self.before + 1
        if self.inside.pop() != threading.get_ident() or self.inside:
            self.violations += 1
        self.lock.release()


@part(kind=LOCKS, threads=range(2, 7), rounds=range(5, 40), weight=3)
def exclusion(kind, threads, rounds):
    """A counter that is read, and written later, under a lock."""
    guard = Guard(kind)

    def work(i):
        for n in range(rounds):
            with guard:
                breathe(i + n)
        return i

    results = in_threads(threads, work)
    return guard.entered, guard.violations, results


@part(threads=range(2, 6), depth=range(1, 8), rounds=range(2, 10))
def recursion(threads, depth, rounds):
    """An RLock taken again by its owner, left through exceptions, and its errors."""
    lock = threading.RLock()
    owners = []
    wrong = []

    def nested(i, n):
        with lock:
            owners.append(i)
            breathe(n)
            if n:
                try:
                    nested(i, n - 1)
                finally:
                    owners.pop()
            else:
                wrong.extend(each for each in owners if each != i)
                owners.pop()
                raise KeyError(i)

    def work(i):
        texts = set()
        for _ in range(rounds):
            try:
                nested(i, depth)
            except KeyError as error:
                texts.add(str(error))
        try:
            lock.release()
        except RuntimeError as error:
            texts.add(str(error))
        return sorted(texts)

    return in_threads(threads, work), wrong, owners


@part(threads=range(2, 7), rounds=range(2, 15), all_=[True, False])
def turns(threads, rounds, all_):
    """Threads that take turns by a condition."""
    condition = threading.Condition()
    order = []

    def work(i):
        for n in range(rounds):
            with condition:
                if n % 2:
                    condition.wait_for(lambda: len(order) % threads == i)
                else:
                    while len(order) % threads != i:
                        condition.wait(60 if n % 4 else None)
                order.append(i)
                if all_:
                    condition.notify_all()
                else:
                    condition.notify(threads)
        return i

    in_threads(threads, work)
    return order == list(range(threads)) * rounds, len(order)


@part(waiters=range(1, 7), timeout=[0.001, 0.004])
def condition_counts(waiters, timeout):
    """As many wake as are notified; the others' waits end by timeout, and say so."""
    condition, others = threading.Condition(threading.Lock()), threading.Condition()
    tokens = [0]
    waiting = threading.Semaphore(0)

    def patient(_):
        with condition:
            waiting.release()
            while not tokens[0]:
                condition.wait()
            tokens[0] -= 1
        return "woken"

    def hasty(_):
        with others:
            return others.wait_for(lambda: False, timeout)

    def give(_):
        for _ in range(waiters):
            waiting.acquire()
        for n in range(waiters):
            with condition:
                tokens[0] += 1
                condition.notify(1 + n % 2)
            breathe(n)

    calls = [patient] * waiters + [give] + [hasty] * (waiters // 2)
    return in_threads(len(calls), lambda i: calls[i](i)), tokens


@part(places=range(1, 4), threads=range(2, 8), rounds=range(3, 15))
def semaphore(places, threads, rounds):
    """Never more inside than there are places; one release too many is an error."""
    places_ = threading.BoundedSemaphore(places)
    inside = []
    most = [0]

    def work(i):
        for n in range(rounds):
            take(places_, i + n)
            inside.append(i)
            most[0] = max(most[0], len(inside))
            breathe(i + n)
            inside.remove(i)
            places_.release()
        return i

    results = in_threads(threads, work)
    try:
        places_.release()
    except ValueError as error:
        results.append(str(error))
    return most[0] <= places, inside, results


@part(parties=range(2, 6), rounds=range(1, 10), broken=["no", "abort", "timeout", "action"])
def barrier(parties, rounds, broken):
    """All arrive in each round; the action runs once a round; all are told when it breaks."""
    made = [0]
    fails = []

    def action():
        made[0] += 1
        if fails:
            raise OSError("action")

    gate = threading.Barrier(parties, action)
    arrived = [0] * parties
    wrong = []

    def work(i):
        for n in range(rounds):
            arrived[i] += 1
            breathe(i + n)
            gate.wait()
            if min(arrived) < n + 1:
                wrong.append(list(arrived))
            gate.wait(60 if n % 2 else None)
        return i

    work_results = in_threads(parties, work)

    def end(i):
        try:
            if i == 0 and broken == "abort":
                gate.abort()
            elif i == 0 and broken == "timeout":
                gate.wait(0.002)
            elif broken != "timeout":
                gate.wait()
        except threading.BrokenBarrierError:
            return "broken"
        except OSError as error:
            return str(error)
        return "passed"

    if broken == "action":
        fails.append(True)
    ends = in_threads(parties, end)
    return work_results, sorted(ends), wrong, gate.broken, made


@part(length=range(2, 12), timeout=[None, 60, 0.0005])
def event_chain(length, timeout):
    """Each thread waits for one event and sets the next."""
    events = [threading.Event() for _ in range(length + 1)]

    def work(i):
        while not events[i].wait(timeout):
            pass
        busy(100 * i)
        events[i + 1].set()
        return events[i].is_set()

    events[0].set()
    results = in_threads(length, work)
    return results, threading.Event().wait(0.001), events[-1].wait(0)


@part(kind=["Lock", "RLock", "Semaphore", "Condition"], timeout=[0, 0.001, 0.003])
def timeouts(kind, timeout):
    """A lock that another holds can't be had in time, and can once it is free."""
    lock = make_lock(kind)
    held, asked = threading.Event(), threading.Event()

    def hold(_):
        with lock:
            held.set()
            asked.wait()

    def ask(_):
        held.wait()
        first = lock.acquire(timeout=timeout), lock.acquire(blocking=False)
        asked.set()
        got = lock.acquire(timeout=60)
        lock.release()
        return first, got

    return in_threads(2, lambda i: (hold, ask)[i](i))


@part(seats=range(2, 7), rounds=range(2, 12))
def philosophers(seats, rounds):
    """Forks taken in order of their numbers."""
    forks = [threading.Lock() for _ in range(seats)]
    holders = [None] * seats
    wrong = []

    def work(i):
        low, high = sorted((i, (i + 1) % seats))
        for n in range(rounds):
            with forks[low], forks[high]:
                if holders[low] is not None or holders[high] is not None:
                    wrong.append(i)
                holders[low] = holders[high] = i
                breathe(i + n)
                holders[low] = holders[high] = None
        return i

    return in_threads(seats, work), wrong


@part(hops=range(2, 20))
def handed_on(hops):
    """A lock that one thread takes and another releases, to and fro."""
    ping, pong = threading.Lock(), threading.Lock()
    ping.acquire()
    pong.acquire()
    seen = []

    def first(_):
        for n in range(hops):
            seen.append(n)
            ping.release()
            pong.acquire()

    def second(_):
        for n in range(hops):
            ping.acquire()
            seen.append(-n)
            pong.release()

    in_threads(2, lambda i: (first, second)[i](i))
    ping.release()
    try:
        ping.release()
    except RuntimeError as error:
        seen.append(str(error))
    return seen == [x for n in range(hops) for x in (n, -n)] + ["release unlocked lock"]
