"""Child processes that run other programs."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

from .prelude import breathe, in_threads
from .registry import part


@part(threads=range(1, 5), eof=True, weight=1)
def commands(threads):
    """Output, input, status of short commands, from several threads."""

    def work(i):
        breathe(i)
        if i % 4 == 0:
            return subprocess.run(["echo", str(i)], capture_output=True, text=True).stdout
        if i % 4 == 1:
            return subprocess.check_output(["cat"], input=b"x" * 100 * i)[:5]
        if i % 4 == 2:
            return os.waitstatus_to_exitcode(os.system(f"exit {i}"))
        return subprocess.call(["sh", "-c", f"kill -9 $$; exit {i}"])

    return in_threads(threads, work)


@part(waiters=range(1, 4), how=["wait", "poll", "communicate"], eof=True, weight=1)
def long_command(waiters, how):
    """A command that runs until it is told to end; waits for it end too early, and in time."""
    process = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    early = []
    try:
        process.wait(0.002)
    except subprocess.TimeoutExpired as error:
        early.append(str(error))
    early.append(process.poll())
    ready = threading.Semaphore(0)

    def wait(i):
        if i == waiters:
            for _ in range(waiters):
                ready.acquire()
            process.send_signal(signal.SIGTERM)
            return process.wait(60)
        ready.release()
        if how == "communicate" and i == 0:
            return process.communicate()[0], process.returncode
        if how == "poll":
            while process.poll() is None:
                breathe(5)
        return process.wait(60 if i % 2 else None)

    results = in_threads(waiters + 1, wait)
    process.stdin.close()
    process.stdout.close()
    return early, results


@part(lines=range(1, 40), eof=True, weight=1)
def conversation(lines):
    """Lines that go through a command and come back."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def write(_):
            for n in range(lines):
                process.stdin.write(b"%d\n" % n)
                process.stdin.flush()
                breathe(n)
            process.stdin.close()

        def read(_):
            return [int(line) for line in process.stdout] == list(range(lines))

        results = in_threads(2, lambda i: (write, read)[i](i))
    return results, process.returncode
