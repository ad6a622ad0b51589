"""The paper's server: each of N threads accepts, waits, answers, closes, and again.

Writes a line of JSON when all threads run, and one each second after that: the totals so far of
answers and failures, the connections open now, and the process's CPU time, context switches (of
all its OS threads) and page faults, as getrusage(2) counts them.  Ends when its parent has.
"""

import argparse
import contextlib
import os
import resource
import socket
import threading
import time

from parent import lives, say  # type: ignore[import-not-found]

PARSER = argparse.ArgumentParser()
PARSER.add_argument("--host", default="127.0.0.1")
PARSER.add_argument("--port", type=int, default=0)
PARSER.add_argument("--threads", type=int, default=100)
PARSER.add_argument("--delay", type=float, default=1.0, help="seconds")
PARSER.add_argument("--payload", type=int, default=1024, help="bytes of each answer")
PARSER.add_argument("--one-accepts", action="store_true", help="threads take turns to accept")
PARSER.add_argument("--stack-size", type=int, default=0, help="bytes, of each thread")
BACKLOG = 1 << 16  # the kernel takes what net.core.somaxconn allows


class Server:
    """Its totals are kept by thread: no lock, and nothing is lost."""

    def __init__(self, listener: socket.socket, options: argparse.Namespace) -> None:
        self.listener = listener
        self.turn = threading.Lock() if options.one_accepts else contextlib.nullcontext()
        self.delay: float = options.delay
        self.answer = b"x" * options.payload
        self.answered = [0] * options.threads
        self.failed = [0] * options.threads
        self.open = [0] * options.threads

    def serve(self, number: int) -> None:
        while True:
            try:
                with self.turn:
                    connection, _ = self.listener.accept()
            except OSError:  # no descriptor left, or the client has gone
                self.failed[number] += 1
                time.sleep(0.1)
                continue
            self.open[number] = 1
            try:
                time.sleep(self.delay)
                connection.sendall(self.answer)
            except OSError:
                self.failed[number] += 1
            else:
                self.answered[number] += 1
            finally:
                connection.close()
                self.open[number] = 0

    def totals(self) -> dict[str, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "time": time.time(),
            "answered": sum(self.answered),
            "failed": sum(self.failed),
            "open": sum(self.open),
            "user": usage.ru_utime,
            "system": usage.ru_stime,
            "switches": usage.ru_nvcsw + usage.ru_nivcsw,
            "faults": usage.ru_minflt + usage.ru_majflt,
        }


def main() -> None:
    options = PARSER.parse_args()
    if options.stack_size:
        threading.stack_size(options.stack_size)
    started = time.perf_counter()
    number = 0
    try:
        listener = socket.create_server((options.host, options.port), backlog=BACKLOG)
        server = Server(listener, options)
        for number in range(options.threads):
            threading.Thread(target=server.serve, args=(number,), daemon=True).start()
    except OSError as error:
        say(error=f"can't listen on {options.host}:{options.port}: {error.strerror}")
        os._exit(1)
    except (RuntimeError, MemoryError) as error:
        say(error=f"thread {number + 1} of {options.threads} can't be started: {error}")
        os._exit(1)
    port = listener.getsockname()[1]
    say(ready=options.threads, port=port, seconds=time.perf_counter() - started)
    try:
        while lives():
            say(**server.totals())
            time.sleep(1)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    os._exit(0)  # thousands of threads wait, and none of them need be woken for it


if __name__ == "__main__":
    main()
