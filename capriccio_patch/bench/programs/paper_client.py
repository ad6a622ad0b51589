"""The paper's clients: each of N threads connects, reads the answer to its end, and again.

Writes a line of JSON each second: the totals so far of answers and bytes, the connections open now,
failures by kind, and how many answers took how long since the line before (beyond the server's
delay, as powers of 1.1 milliseconds).  Each thread has a source address of its own, where there are
such, so that ports suffice.  Ends after its time, or when its parent has.
"""

import argparse
import collections
import errno
import ipaddress
import math
import os
import socket
import threading
import time
from typing import Any

from parent import lives, say  # type: ignore[import-not-found]

PARSER = argparse.ArgumentParser()
PARSER.add_argument("--host", default="127.0.0.1")
PARSER.add_argument("--ports", type=int, nargs="+", required=True, help="one for each server")
PARSER.add_argument("--threads", type=int, default=100)
PARSER.add_argument("--first", type=int, default=0, help="number of the first thread, of all")
PARSER.add_argument("--of", type=int, default=0, help="threads of all clients together")
PARSER.add_argument("--addresses", default="", help="network to take source addresses from")
PARSER.add_argument("--wait", action="store_true", help="begin when a line of input names a time")
PARSER.add_argument("--ramp", type=float, default=1.0, help="seconds over which threads begin")
PARSER.add_argument("--duration", type=float, default=10.0, help="seconds")
PARSER.add_argument("--delay", type=float, default=1.0, help="the server's")
PARSER.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for anything")
PAUSE = 0.5  # seconds after a failure: one that repeats must not become a load of its own


class Clients:
    """Their totals are kept by thread: no lock, and nothing is lost."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.begin = 0.0  # seconds since the epoch
        self.begins = threading.Event()
        self.network = ipaddress.ip_network(options.addresses) if options.addresses else None
        self.answers = [0] * options.threads
        self.bytes = [0] * options.threads
        self.open = [0] * options.threads
        self.took: collections.deque[float] = collections.deque()
        self.failures: collections.Counter[str] = collections.Counter()
        self.failures_lock = threading.Lock()

    def run(self, index: int) -> None:
        options = self.options
        number = options.first + index
        target = options.host, options.ports[number % len(options.ports)]
        source = ""
        if self.network is not None:
            source = str(self.network[1 + number % (self.network.num_addresses - 2)])
        self.begins.wait()
        begin = self.begin + options.ramp * number / max(1, options.of)
        time.sleep(max(0.0, begin - time.time()))
        while True:
            try:
                self.request(index, target, source)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    kind = "timed out"
                else:
                    kind = errno.errorcode.get(error.errno or 0, str(error))
                with self.failures_lock:
                    self.failures[kind] += 1
                time.sleep(PAUSE)

    def request(self, index: int, target: tuple[str, int], source: str) -> None:
        started = time.perf_counter()
        size = 0
        with socket.socket() as connection:
            connection.settimeout(self.options.timeout)
            if source:
                connection.bind((source, 0))
            connection.connect(target)
            self.open[index] = 1
            try:
                while data := connection.recv(1 << 16):
                    size += len(data)
            finally:
                self.open[index] = 0
        if not size:
            raise OSError("no answer")
        self.answers[index] += 1
        self.bytes[index] += size
        self.took.append(time.perf_counter() - started)

    def totals(self) -> dict[str, Any]:
        took: collections.Counter[int] = collections.Counter()
        for _ in range(len(self.took)):
            beyond = self.took.popleft() - self.options.delay
            took[math.ceil(math.log(max(beyond * 1000, 0.01), 1.1))] += 1
        with self.failures_lock:
            failures = dict(self.failures)
        return {
            "time": time.time(),
            "answers": sum(self.answers),
            "bytes": sum(self.bytes),
            "open": sum(self.open),
            "failures": failures,
            "took": took,
        }


def main() -> None:
    options = PARSER.parse_args()
    options.of = options.of or options.threads
    clients = Clients(options)
    try:
        for index in range(options.threads):
            threading.Thread(target=clients.run, args=(index,), daemon=True).start()
    except (RuntimeError, MemoryError) as error:
        say(error=f"a client's thread can't be started: {error}")
        os._exit(1)
    say(ready=options.threads)
    try:
        clients.begin = float(input()) if options.wait else time.time()
        clients.begins.set()
        second = 0
        while lives() and second <= options.duration:
            time.sleep(max(0.0, clients.begin + second - time.time()))
            say(**clients.totals())
            second = max(second + 1, math.floor(time.time() - clients.begin))
    except (KeyboardInterrupt, BrokenPipeError, EOFError):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
