"""Descriptors that are opened, waited for, closed by others and opened again: no wake-up is lost.

    python reuse_storm.py [ROUNDS]

Half of the closes are made in C, where nobody is told.  Pipes and sockets take turns.  Ends with
status 0 and a line of figures, or with the first wait that did not end as it should.
"""

from __future__ import annotations

import ctypes
import errno
import os
import queue
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any

import capriccio_patch
from tests.inside import is_parked

LIMIT = 20.0
"""Seconds after which a wake-up is lost."""

_close = ctypes.CDLL(None, use_errno=True).close


class Pipe:
    """A pipe, by its numbers."""

    def __init__(self) -> None:
        self.fd, self._other = os.pipe()

    def take(self) -> bytes:
        return os.read(self.fd, 10)

    def give(self, data: bytes) -> None:
        os.write(self._other, data)

    def close(self) -> None:
        os.close(self.fd)

    def close_in_c(self) -> None:
        _close(self.fd)

    def close_other(self) -> None:
        os.close(self._other)


class Sockets:
    """Two sockets."""

    def __init__(self) -> None:
        self._socket, self._other = socket.socketpair()
        self.fd = self._socket.fileno()

    def take(self) -> bytes:
        return self._socket.recv(10)

    def give(self, data: bytes) -> None:
        self._other.send(data)

    def close(self) -> None:
        self._socket.close()

    def close_in_c(self) -> None:
        _close(self.fd)

    def close_other(self) -> None:
        self._other.close()
        self._socket.detach()


class Waiter:
    """A thread that waits for what it is told to."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ends: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._waits = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            source = self._jobs.get()
            self._waits = True
            try:
                self._ends.put(source.take())
            except OSError as error:
                self._ends.put(error.errno)

    def wait_for(self, source: Any) -> None:
        """Have it wait; it does when this returns."""
        self._waits = False
        self._jobs.put(source)
        while not self._waits or not is_parked(self._thread):
            time.sleep(0)
        time.sleep(0)

    def expect(self, wanted: Any, what: str) -> None:
        """Its wait ends so."""
        try:
            got = self._ends.get(timeout=LIMIT)
        except queue.Empty:
            raise SystemExit(f"{what}: a wake-up was lost") from None
        if got != wanted:
            raise SystemExit(f"{what}: {got!r} instead of {wanted!r}")


def main(rounds: int) -> None:
    """Go through the four kinds of rounds."""
    capriccio_patch.patch_all(slice=0, blocked="off")
    old, new = Waiter(), Waiter()
    counts: Counter[str] = Counter()
    for number in range(rounds):
        make = (Pipe, Sockets)[number // 4 % 2]
        data = b"%d" % number
        what = ("given", "closed", "closed in C and reused", "closed in C before")[number % 4]
        name = f"round {number}, {make.__name__}, {what}"
        first = make()
        if what == "given":
            old.wait_for(first)
            first.give(data)
            old.expect(data, name)
            first.close()
            first.close_other()
        elif what == "closed":
            old.wait_for(first)
            first.close()
            old.expect(errno.EBADF, name)
            first.close_other()
        else:
            waits = what == "closed in C and reused"
            if waits:
                old.wait_for(first)
            else:
                first.give(data)
                old.wait_for(first)
                old.expect(data, name)
            first.close_in_c()
            second = (Pipe, Sockets)[number // 8 % 2]()
            if second.fd != first.fd:
                raise SystemExit(f"{name}: the number was not used again")
            new.wait_for(second)
            if waits:
                old.expect(errno.EBADF, name)
            second.give(data)
            new.expect(data, name)
            second.close()
            second.close_other()
            first.close_other()
        counts[what] += 1
    print(f"{rounds} rounds, {capriccio_patch.status()['sockio']}: {dict(counts)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
