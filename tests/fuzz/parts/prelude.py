"""What every program has: notes of what happened, printed in order of their text at the end."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time

_notes = []
_checks = []
_own = threading.local()
MAIN_PROCESS = os.getpid()
# Seconds after which a signal is sent again: one that comes just as the main thread begins to wait
# is not handled before that wait ends, under stock Python too.
RESEND = 0.02


def described(error):
    return f"{type(error).__name__}: {error}"


def note(name, value):
    """To be printed at the end."""
    _notes.append(f"{name}: {value!r}")


def check(name, got, expected):
    """Something is noted only if the two differ; the number of checks is noted at the end."""
    _checks.append(name)
    if got != expected:
        note(name, ("got", got, "instead of", expected))


def run(name, call, /, **arguments):
    """Note what a call returns, or raises."""
    try:
        value = call(**arguments)
    except Exception as error:
        value = described(error)
    note(name, value)


def with_own(name, call, /, *arguments, errno=0):
    """What it returns; what belongs to the thread must be as it was when it does, or raises."""
    _own.name = name
    if errno:
        ctypes.set_errno(errno)
    try:
        return call(*arguments)
    finally:
        kept = getattr(_own, "name", None), errno and ctypes.get_errno()
        if kept != (name, errno):
            note(name, ("kept", kept))


def print_notes():
    note("checks", len(_checks))
    text = "\n".join(sorted(_notes))
    _notes.clear()
    _checks.clear()
    print(text, flush=True)


def watch_for_hang():
    """The runner asks for stacks: by the time limit, or of each process with a signal."""
    limit = float(os.environ.get("FUZZ_STACKS", "0"))
    if limit:
        faulthandler.dump_traceback_later(limit)
        faulthandler.register(signal.SIGQUIT)
    if "FUZZ_SWITCH" in os.environ:
        sys.setswitchinterval(float(os.environ["FUZZ_SWITCH"]))


def patch_late():
    """Does something only where the runner has chosen to patch in the middle."""
    if os.environ.get("FUZZ_LATE") == "1":
        import capriccio_patch

        capriccio_patch.patch_all()
        watch_for_hang()


def in_threads(number, call, daemon=False):
    """What ``call(i)`` returns, or raises, in a thread for each i."""
    results = [None] * number

    def body(i):
        try:
            # Most threads have locals alone.
            results[i] = with_own(f"thread {i}", call, i, errno=i if i % 3 == 2 else 0)
        except Exception as error:
            results[i] = described(error)

    threads = [
        threading.Thread(target=body, args=(i,), daemon=daemon and i % 2 == 1)
        for i in range(number)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def busy(rounds):
    """Compute, in Python."""
    total = 0
    for i in range(rounds):
        total += i
    return total


def breathe(i):
    """Let others run now and then, in one way or another."""
    if i % 3 == 0:
        time.sleep(0)
    elif i % 5 == 0:
        time.sleep(0.0003)
    elif i % 7 == 0:
        busy(2000)
