"""python -m capriccio_patch.bench fairness: an echo server beside threads that want all there is.

* ``files``: a thousand threads write and read files of their own.  How long an answer takes, with
  them and without, is told by one request every few milliseconds, and then by ten clients and by a
  hundred, each of which asks again once it is answered.
* ``bursts``: as many threads do so ten times a second, all at the same moment.
* ``hogs``: four threads compute.  As many clients tell how many answers there are and how long they
  take, here and under stock threads.

What is compared takes turns, so that both meet the same moments of the machine; ratios are those of
one round, of which the median and the quartiles are told.
"""

from __future__ import annotations

import argparse
import math
import select
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Self

from . import options
from .harness.children import ChildFailed, Children
from .harness.conditions import headline
from .harness.reduction import quartiles, ratios
from .harness.rounds import take_turns
from .harness.runtimes import OURS, command

__all__ = ["add_arguments", "run"]

_REQUEST = b"x" * 64
_EVERY = 0.002
_FEW = 10
_HOW = {"files": "", "bursts": " all at once, ten times a second"}
_SETTLE = 0.5
"""Seconds from when the others begin to when it counts."""


_END_LIMIT = 10.0


class Turn(NamedTuple):
    """What was measured in one turn; seconds, and requests a second."""

    median: float
    p99: float
    rate: float
    others: float
    """How much the others did in a second."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("what", nargs="*", metavar="files|bursts|hogs", help="default: all")
    parser.add_argument("--files", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--hogs", type=int, default=4, metavar="N", help="default: 4")
    parser.add_argument("--clients", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: 7")
    parser.add_argument(
        "--seconds", type=float, default=3.0, metavar="S", help="of a turn (default: 3)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, and print each round and what they say together."""
    print(f"{headline()}; {args.rounds} rounds.")
    try:
        for what in args.what or ["files", "bursts", "hogs"]:
            if what == "hogs":
                _hogs(args.hogs, args.clients, args.rounds, args.seconds)
                continue
            for clients in sorted({1, _FEW, args.clients}):
                _files(what, args.files, clients, args.rounds, args.seconds)
    except ChildFailed as error:
        return options.fail("fairness", error)
    return 0


def _files(what: str, threads: int, clients: int, rounds: int, seconds: float) -> None:
    load = f"{clients} clients" if clients > 1 else f"one request every {_EVERY * 1e3:.0f} ms"
    print(f"\n{threads:,} threads on their own files{_HOW[what]}, {load}")
    with _Server(OURS, what, threads, _FEW if clients == 1 else clients) as server:
        turns = {
            "alone": partial(server.turn, False, seconds, clients),
            "beside files": partial(server.turn, True, seconds, clients),
        }
        alone, beside = _measure(turns, rounds)
    _compare("median, beside over alone", [t.median for t in beside], [t.median for t in alone])
    _compare("p99, beside over alone", [t.p99 for t in beside], [t.p99 for t in alone])


def _hogs(threads: int, clients: int, rounds: int, seconds: float) -> None:
    print(f"\n{threads} threads that compute, {clients} clients")
    with (
        _Server(OURS, "hogs", threads, clients) as here,
        _Server("stock", "hogs", threads, clients) as there,
    ):
        turns = {
            OURS: partial(here.turn, True, seconds, clients),
            "stock": partial(there.turn, True, seconds, clients),
        }
        ours, stock = _measure(turns, rounds)
    _compare("requests, ours over stock's", [t.rate for t in ours], [t.rate for t in stock])
    _compare("p99, ours over stock's", [t.p99 for t in ours], [t.p99 for t in stock])
    _compare("computing, ours over stock's", [t.others for t in ours], [t.others for t in stock])


def _measure(turns: Mapping[str, Callable[[], Turn]], rounds: int) -> list[list[Turn]]:
    """All rounds, each printed when it is over; in the order of `turns`, what each gave."""
    kept: dict[str, list[Turn]] = {name: [] for name in turns}
    for found in take_turns(turns, rounds):
        for name, turn in kept.items():
            turn.append(found[name])
            _print(name, found[name])
    return list(kept.values())


class _Server:
    """A server with others in its process, and connections to it."""

    def __init__(self, runtime: str, what: str, threads: int, connections: int) -> None:
        self._children = Children()
        asked = {"blocked": "off"} if runtime == OURS else {}
        started = command(runtime, "disturbed.py", what, threads, **asked)
        self._child = self._children.start(f"the server under {runtime}", started)
        port = int(self._child.line())
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[connection.fileno()] = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._sockets.values():
            connection.close()
        self._child.finish(_END_LIMIT)  # it removes its files
        self._children.__exit__()

    def turn(self, disturbed: bool, seconds: float, at_once: int) -> Turn:
        """Ask for some seconds, with so many requests under way at once."""
        before = 0
        settle = min(_SETTLE, seconds)
        if disturbed:
            before = self._tell("on")
            time.sleep(settle)
        started = time.perf_counter()
        took = sorted(self._ask_all(seconds) if at_once > 1 else self._ask_in_turn(seconds))
        passed = time.perf_counter() - started
        after = self._tell("off")
        p99 = took[math.ceil(len(took) * 0.99) - 1]
        others = (after - before) / (passed + settle) if disturbed else 0.0
        return Turn(took[len(took) // 2], p99, len(took) / passed, others)

    def _ask_in_turn(self, seconds: float) -> list[float]:
        took: list[float] = []
        end = time.perf_counter() + seconds
        while True:
            for connection in self._sockets.values():
                started = time.perf_counter()
                if started >= end:
                    return took
                connection.sendall(_REQUEST)
                left = len(_REQUEST)
                while left:
                    left -= len(connection.recv(left))
                took.append(time.perf_counter() - started)
                time.sleep(_EVERY)

    def _ask_all(self, seconds: float) -> list[float]:
        took: list[float] = []
        clock = time.perf_counter
        sent = {}
        poll = select.poll()
        for fd, connection in self._sockets.items():
            poll.register(fd, select.POLLIN)
            connection.sendall(_REQUEST)
            sent[fd] = clock()
        end = clock() + seconds
        while sent:
            for fd, _ in poll.poll():
                self._sockets[fd].recv(len(_REQUEST), socket.MSG_WAITALL)
                now = clock()
                took.append(now - sent.pop(fd))
                if now < end:
                    self._sockets[fd].sendall(_REQUEST)
                    sent[fd] = now
        return took

    def _tell(self, line: str) -> int:
        self._child.tell(line)
        return int(self._child.line())


def _print(name: str, turn: Turn) -> None:
    text = f"{name:12} median {turn.median * 1e3:8.3f} ms, p99 {turn.p99 * 1e3:8.3f} ms"
    text += f", {turn.rate:8,.0f} requests/s"
    print(text + (f", others {turn.others:,.0f}/s" if turn.others else ""), flush=True)


def _compare(title: str, of: list[float], to: list[float]) -> None:
    low, middle, high = quartiles(ratios(of, to))
    print(f"{title}: {middle:.2f} [{low:.2f}-{high:.2f}]", flush=True)
